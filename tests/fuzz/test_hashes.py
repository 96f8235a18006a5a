"""A real worker survives hashes of any bytes, empties the queue, and shows nothing."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Context, Keep, Mask, Oxherd, Retry
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import FIELDS
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.client import Argument
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from tests.fuzz.oracle import no_canary
from tests.fuzz.source import CANARY, Source, as_bytes
from tests.fuzz.targets.job import OPTIONS, value
from tests.harness import Records, until

HASHES = 1_000
EVENT = "order.placed"


class Order(BaseModel):
    order_id: Annotated[int, Mask()] = 0
    email: Annotated[str, Mask("email")] = ""
    card: SecretStr = SecretStr("")
    good: int = 0


def fields_of(source: Source) -> list[Argument]:
    """The fields of a job, most of them as they should be."""
    right = {
        "name": EVENT, "data": json.dumps({"email": CANARY, "card": CANARY}), "opts": "{}",
        "timestamp": "1700000000000", "atm": "0", "ats": "0", "stc": "0",
    }  # fmt: skip
    found: dict[str, Argument] = {name: text for name, text in right.items() if source.below(16) != 15}
    for name in FIELDS:
        if source.below(10) == 9:
            found[name] = value(source, name)
    return [part for pair in found.items() for part in pair]


def commands(source: Source, key: bytes) -> list[tuple[Argument, ...]]:
    """What another program may have left at a job's key, and beside it."""
    kind = source.below(12)
    wrong = (("SET", key, CANARY), ("RPUSH", key, CANARY), ("SADD", key, CANARY), ("ZADD", key, 1, CANARY), ())
    if kind == 0:
        return [found] if (found := source.choose(wrong)) else []
    made = fields_of(source)
    beside = (":lock", ":logs", ":dependencies", ":processed", ":unsuccessful")
    more = [("RPUSH", key + source.choose(beside).encode(), CANARY)] if kind == 1 else []
    return [*([("HSET", key, *made)] if made else []), *more]


async def put(queue: BullQueue, source: Source, number: int) -> None:
    keys, call = queue.keys, queue.client.call
    job_id = b"%d" % number + (as_bytes(source.text())[:1_000] if source.below(4) == 3 else b"")
    for command in commands(source, keys.base.encode() + job_id):
        await call(keys.slot, *command)
    command = source.choose((("LPUSH", keys.wait), ("RPUSH", keys.wait), ("ZADD", keys.delayed, 1)))
    await call(keys.slot, *command, job_id)


async def empty(queue: BullQueue) -> bool:
    """Whether nothing waits or runs, but for what is to be tried again much later, as its own options say."""
    counts, soon = await queue.counts(), (now_ms() + 60_000) * 0x1000
    due = await queue.client.call(queue.keys.slot, "ZCOUNT", queue.keys.delayed, "-inf", soon)
    return not counts["wait"] + counts["active"] + counts["prioritized"] + due


@pytest.mark.parametrize("batched", [True, False])
async def test_a_worker_survives_any_hash(
    batched: bool, standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone, batched=batched)
    done: Counter[int] = Counter()

    @herd.event(EVENT, lock=3, retry=Retry(attempts=2, delay=0.01), keep=Keep(failed=100))
    async def order_placed(order: Order, ctx: Context) -> None:
        assert ctx.emitted_at.tzinfo
        done[order.good] += 1
        if not order.good and ctx.attempt < 3:  # a job may ask for more attempts than there is time
            raise ValueError(f"declined: {order.email}, {order.card.get_secret_value()}")

    chance = random.Random(f"hashes {batched}")
    memory = peak_mebibytes()
    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await herd.start()
        sent = 0
        for number in range(HASHES):
            await put(queue, Source(chance.randbytes(chance.choice((20, 100, 600))), OPTIONS), number)
            if number % 20 == 0:
                sent += 1
                await order_placed.emit(Order(good=sent))
        try:
            await until(lambda: empty(queue), deadline=12)
        except AssertionError:
            print(await queue.counts())
            k = queue.keys
            for i in await queue.client.call(k.slot, "LRANGE", k.active, 0, -1):
                print(
                    "active",
                    i[:80],
                    await queue.client.call(k.slot, "TYPE", k.base.encode() + i),
                    await queue.client.call(k.slot, "PTTL", k.base.encode() + i + b":lock"),
                )
            for i in await queue.client.call(k.slot, "LRANGE", k.wait, -10, -1):
                print("wait", i[:80], await queue.client.call(k.slot, "TYPE", k.base.encode() + i))
            for i in await queue.client.call(k.slot, "ZRANGE", k.delayed, 0, 3):
                print(
                    "del",
                    i[:80],
                    [str(x)[:300] for x in await queue.client.call(k.slot, "HGETALL", k.base.encode() + i)],
                )
            for r in records.all[-5:]:
                print(JSONFormatter().format(r)[:300])
            raise
        await records.wait("event.end", count=sent, outcome="completed")
        assert [done[good] for good in range(1, sent + 1)] == [1] * sent
        assert (await queue.counts())["failed"] >= 100
        await quiet()
        await order_placed.emit(Order(good=sent + 1))
        await until(lambda: done[sent + 1])
    assert peak_mebibytes() - memory < 200
    check_log(records)


def peak_mebibytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


async def quiet() -> None:
    """A worker of an empty queue rests."""
    before = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - before < 0.25


def check_log(records: Records) -> None:
    plain, console = JSONFormatter(), ConsoleFormatter(colour=False)
    kinds: Counter[Any] = Counter()
    for record in records.all:
        line = plain.format(record)
        assert len(line) < 10_000
        no_canary(line, "the log")
        no_canary(console.format(record), "the console")
        fields = json.loads(line)
        kinds[fields["msg"], fields.get("source"), fields.get("error", {}).get("type")] += 1
        assert record.name != "asyncio", line
        assert "an error inside oxherd" not in line
    assert kinds.total() < 6 * HASHES, kinds

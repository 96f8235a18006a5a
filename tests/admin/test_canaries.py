"""No result of `herd.admin` holds what is private: in payloads, errors, results, keys and ids, ours and Node's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Context, Cron, Keep, Mask, Oxherd, Retry
from oxherd.bullmq.queue import BullQueue
from tests.harness import Records

CANARY = "kanarie7391"
NUMBER = 739_173_917


class Order(BaseModel):
    number: int
    email: Annotated[str, Mask("email")] = f"alice@{CANARY}.nl"
    card: SecretStr = SecretStr(f"card-{CANARY}")
    note: Annotated[str, Mask()] = f"{CANARY}-note"
    phone: Annotated[int, Mask()] = NUMBER


async def everything(herd: Oxherd) -> AsyncIterator[Any]:
    """All that can be read of a herd."""
    admin = herd.admin
    for row in await admin.events():
        yield row
    for state in ("waiting", "delayed", "running", "completed", "failed"):
        for found in await admin.find(state=state).all():
            yield found
            yield await admin.show(found.id)
    for row in await admin.history("order.placed", step="hour", since=3600):
        yield row
    for schedule in await admin.schedules():
        yield schedule
    for queue in await admin.unknown_queues():
        yield queue
    for name in ("order.placed", "order.untold"):
        yield (await admin.retry(name).run())
        yield (await admin.promote(name).run())


def assert_silent(value: Any) -> None:
    text = f"{value!r} {json.dumps(asdict(value), default=str)}"
    for secret in (CANARY, str(NUMBER)):
        assert secret not in text, text


@pytest.mark.parametrize("prior", ["ours", "foreign"])
async def test_no_canary_is_found_in_any_result(local_herd: Oxherd, records: Records, prior: str) -> None:
    herd = local_herd

    @herd.event(
        "order.placed", retry=Retry(attempts=2, delay=0.01), key=lambda order: f"key-{CANARY}-{order.number}",
        shards=2, keep=Keep(completed=10),
    )  # fmt: skip
    async def order_placed(order: Order, ctx: Context) -> str:
        await ctx.progress({"at": f"progress {CANARY}"})
        await ctx.note(f"mail to {order.email}, call {order.phone}")
        if order.number == 1:
            raise ValueError(f"no mail for {order.email} ({order.note}), call {order.phone}")
        return f"receipt for {order.email}"

    @herd.event("order.untold", retry=Retry(attempts=1))
    async def untold(order: dict[str, str], ctx: Context) -> None:
        await ctx.note(f"hello {order['name']}")
        raise KeyError(order["name"])

    async with herd:
        failing = await order_placed.emit(Order(number=1))
        await order_placed.emit(Order(number=2))
        told = await untold.emit({"name": f"name {CANARY}"})
        await herd.start()
        await records.wait("event.end", 2, outcome="failed")
        await records.wait("event.end", outcome="completed")
        await herd.stop()
    async with herd:
        await order_placed.emit(Order(number=3))
        await order_placed.emit(Order(number=4), delay=3600)
        await order_placed.schedule("nightly", Cron("0 2 * * *"), Order(number=5))
        if prior == "foreign":
            backend = await herd.backend()
            names = (await herd.admin.events())[0].queues
            for queue in (*(backend.queue_named(name) for name in names), backend.queue_named("{order.untold}")):
                for event_id in (failing.id, told.id):
                    await fail_as_node_does(queue, str(event_id))
            # A job of Node's, whose own id and name say too much.
            k = backend.queue_named("{order.untold}").keys
            await backend.client.call(
                k.slot, "HSET", k.job(CANARY), "name", CANARY, "data", f'"{CANARY}"', "timestamp", 1, "opts", "{}",
                "failedReason", f"no {CANARY}", "finishedOn", 5,
            )  # fmt: skip
            await backend.client.call(k.slot, "ZADD", k.failed, 5, CANARY)
        seen = 0
        assert await herd.admin.find(error=CANARY).all() == []
        assert (await herd.admin.retry(error=CANARY).run()).done == 0
        async for value in everything(herd):
            seen += 1
            assert_silent(value)
        assert seen > 10


async def fail_as_node_does(queue: BullQueue, job_id: str) -> None:
    """Put into a failed job what Node's worker would write of an error that quotes its payload."""
    k, call = queue.keys, queue.client.call
    if not await queue.holds(job_id):
        return
    told = f"no mail for alice@{CANARY}.nl ({CANARY}-note), call {NUMBER}"
    reason = f"nobody of name {CANARY}" if k.queue == "{order.untold}" else told
    trace = json.dumps([f"Error: {reason}\n    at send (/app/mail.js:7:3)"])
    await call(k.slot, "HSET", k.job(job_id), "failedReason", reason, "stacktrace", trace)
    await call(k.slot, "HDEL", k.job(job_id), "ox:end")
    await call(k.slot, "RPUSH", k.logs(job_id), reason)

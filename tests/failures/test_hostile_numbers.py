"""Numbers that any program may have written, in a job, its options or a score: no worker and no scrape fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from oxherd import Every, Oxherd
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.client import Argument
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.http.health_source import ProcessSource
from tests.harness import Records, until
from tests.telemetry.support import value

EVENT = "order.placed"
NUMBERS: tuple[bytes, ...] = (
    b"9" * 400, b"-" + b"9" * 400, b"9" * 5000, b"9" * 20, b"9223372036854775807", b"253402300800000", b"-5", b"1.5",
    b"1e3", b"1e400", b"nan", b"inf", b"-inf", b"Infinity", b"0x10", b"", b" 12 ", b"1_000", b"+5", b"\xef\xbc\x91",
    b"null", b"\xff",
)  # fmt: skip
FIELDS = (
    "timestamp",
    "delay",
    "priority",
    "processedOn",
    "finishedOn",
    "ats",
    "atm",
    "attemptsMade",
    "stc",
    "ox:uncounted",
    "ox:ran",
)
JSON_NUMBERS = (
    b"9" * 400,
    b"9" * 5000,
    b"-5",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b'{"delay":1e400}',
    b'{"age":-1e400,"count":1e400}',
)
OPTIONS = (
    "attempts",
    "delay",
    "priority",
    "timestamp",
    "backoff",
    "removeOnFail",
    "stackTraceLimit",
    "sizeLimit",
    "repeat",
    "ox:expires",
)
SCORES = ("inf", "-inf", "1e300", "-1e300", "-1e17", "1e18", "-5")


async def put(queue: BullQueue, job_id: str, **fields: Argument) -> None:
    """Add a job as another program may."""
    right: dict[str, Argument] = {"name": EVENT, "data": b"{}", "opts": b"{}", "timestamp": 1700000000000}
    pairs = [part for pair in (right | fields).items() for part in pair]
    await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(job_id), *pairs)
    await queue.client.call(queue.keys.slot, "LPUSH", queue.keys.wait, job_id)


HASHES = [
    *({field: number} for field in FIELDS for number in NUMBERS),
    *({"opts": b'{"%s":%s}' % (option.encode(), number)} for option in OPTIONS for number in JSON_NUMBERS),
]


async def test_a_worker_ends_every_job_whatever_its_numbers_and_goes_on(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event(EVENT)
    async def order_placed(order: dict[str, int]) -> None: ...

    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        for number, fields in enumerate(HASHES):
            await put(queue, f"bad-{number}", **fields)
        await local_herd.start()
        emitted = await order_placed.emit({"order": 1})
        await records.wait("event.end", event_id=str(emitted.id))

        async def nothing_waits() -> bool:
            counts = await queue.counts()
            return not counts["wait"] + counts["active"] + counts["prioritized"]

        await until(nothing_waits)
        assert local_herd.health().ready
    assert {vars(record)["source"] for record in records.named("queue.error")} <= {"data", "schedule", "stalled"}


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_scrape_answers_whatever_the_time_of_a_waiting_job(number: bytes, local_herd: Oxherd) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @local_herd.event(EVENT, concurrency=1)
    async def order_placed(order: dict[str, int]) -> None:
        begun.set()
        await go_on.wait()

    source = ProcessSource(local_herd)
    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        await local_herd.start()
        await order_placed.emit({})
        await begun.wait()
        await put(queue, "bad", timestamp=number)
        answer = await asyncio.to_thread(source.metrics)
        assert answer is not None
        text = answer[1].decode()
        assert (value(text, "oxherd_up"), value(text, "oxherd_events_waiting", event=EVENT)) == (1, 1)
        age = value(text, "oxherd_oldest_waiting_seconds", event=EVENT)
        assert age is None or 0 <= age < 2e9
        go_on.set()


@pytest.mark.parametrize("score", SCORES)
async def test_the_score_of_a_delayed_job_does_not_make_an_idle_worker_spin(
    score: str, make_herd: Callable[..., Oxherd]
) -> None:
    with StandaloneServer() as server:
        herd = make_herd(server.url)

        @herd.event(EVENT)
        async def order_placed(order: dict[str, int]) -> None: ...

        def commands() -> int:
            return int(server.text("INFO", "stats").partition("total_commands_processed:")[2].split()[0])

        async with herd:
            queue = (await herd.backend()).queue(order_placed.declaration)
            await queue.client.call(queue.keys.slot, "ZADD", queue.keys.delayed, score, "bad")
            await herd.start()
            await until(lambda: herd.health().ready)
            before = commands()
            await asyncio.sleep(0.5)
            assert commands() - before < 50


@pytest.mark.parametrize("score", SCORES)
async def test_the_score_of_a_marker_does_not_keep_events_from_beginning(
    score: str, local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event(EVENT)
    async def order_placed(order: dict[str, int]) -> None: ...

    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        await local_herd.start()
        for _ in range(3):
            await queue.client.call(queue.keys.slot, "ZADD", queue.keys.marker, score, "bad")
            await order_placed.emit({})
        await records.wait("event.end", 3)
    assert not records.named("queue.error")


@pytest.mark.parametrize("score", SCORES)
async def test_the_score_of_a_schedule_does_not_keep_it_from_being_stored_again(score: str, local_herd: Oxherd) -> None:
    event = local_herd.declare(EVENT, dict[str, int])
    async with local_herd:
        queue = (await local_herd.backend()).queue(event.declaration)
        await event.schedule("hourly", Every(3600), {})
        await queue.client.call(queue.keys.slot, "ZADD", queue.keys.repeat, score, "hourly")
        await event.schedule("hourly", Every(1800), {})


@pytest.mark.parametrize(("size", "outcome"), [(2_000, "completed"), (2_001, "failed")])
async def test_a_payload_over_the_limit_that_another_program_adds_fails_before_it_is_parsed(
    size: int, outcome: str, local_herd: Oxherd, records: Records
) -> None:
    ran: list[int] = []

    @local_herd.event(EVENT, max_payload=2_000)
    async def order_placed(order: dict[str, str]) -> None:
        ran.append(len(order["text"]))

    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        await put(queue, "large", data=b'{"text":"%s"}' % (b"x" * (size - 11)), opts=b'{"attempts":3}')
        # Whoever parses it first says something else.
        await put(queue, "no-json", data=b"[" * 2_001)
        await local_herd.start()
        emitted = await order_placed.emit({"text": ""})
        await records.wait("event.end", event_id=str(emitted.id))
        [*_, fault] = await records.wait("queue.error", count=1 + (outcome == "failed"), source="data")
        assert sorted(ran) == [0] if outcome == "failed" else [0, size - 11]
        reason = await queue.client.call(queue.keys.slot, "HGET", queue.keys.job("no-json"), "failedReason")
    told = "the payload is 2001 bytes of JSON and the limit is 2000 bytes: send less, or raise max_payload"
    assert (vars(fault)["error"], reason.decode()) == ({"type": "PayloadTooLarge", "message": told}, told)

"""Workers send what was left: each row once, whatever else is in the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from oxherd import Context, Oxherd
from oxherd.outbox import Outbox
from oxherd.producer.messages import RelayOptions
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, until
from tests.outbox.conftest import MakeOutbox

GRACE = 0.2


def leave(
    outbox: Outbox, engine: Engine, payloads: list[str], event: str = "order.placed", **columns: Any
) -> list[UUID]:
    """Write rows as a process does that dies before it has sent them."""
    ids = [uuid7() for _ in payloads]
    emitted_at = datetime.now(UTC) - timedelta(hours=1)
    options = RelayOptions(emitted_ms=int(emitted_at.timestamp() * 1000)).to_json()
    values = {"event": event, "lineage": "", "options": options, "emitted_at": emitted_at, "error": None, **columns}
    with engine.begin() as connection:
        connection.execute(
            outbox.table.insert(),
            [{"id": each, "payload": payload, **values} for each, payload in zip(ids, payloads, strict=True)],
        )
    return ids


async def waiting(outbox: Outbox) -> int:
    return (await outbox.backlog()).waiting


async def test_a_worker_sends_what_was_left(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    outbox = make_outbox(local_herd, engine, grace=GRACE)
    emitted_at: list[datetime] = []

    @local_herd.event("order.placed", expires=7200)
    async def order_placed(number: int, ctx: Context) -> None:
        emitted_at.append(ctx.emitted_at)

    left = leave(outbox, engine, ["7"])
    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", event_id=left[0], outcome="completed")
        await until(lambda: waiting_is(outbox, 0))
        await local_herd.stop()
    assert datetime.now(UTC) - emitted_at[0] > timedelta(minutes=59)


async def waiting_is(outbox: Outbox, count: int) -> bool:
    return await waiting(outbox) == count


async def test_an_event_that_has_expired_meanwhile_is_dropped(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    outbox = make_outbox(local_herd, engine, grace=GRACE)

    @local_herd.event("order.placed", expires=60)
    async def order_placed(number: int) -> None: ...

    left = leave(outbox, engine, ["7"])
    async with local_herd:
        await local_herd.start()
        await records.wait("event.expired", event_id=left[0])
        await local_herd.stop()
    assert not records.named("event.begin")
    assert order_placed.name == "order.placed"


async def test_many_are_sent_by_several_workers_and_each_once(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, make_herd: Callable[..., Oxherd], standalone: str
) -> None:
    outbox = make_outbox(local_herd, engine, grace=GRACE)
    other_herd = make_herd(standalone)
    other = Outbox(other_herd, engine, grace=GRACE)
    runs: list[int] = []

    async def handle(number: int) -> None:
        runs.append(number)

    for herd in (local_herd, other_herd):
        herd.event("order.placed", concurrency=100)(handle)
    leave(outbox, engine, [str(number) for number in range(450)])
    async with local_herd, other_herd:
        await local_herd.start()
        await other_herd.start()
        await until(lambda: len(runs) >= 450)
        await until(lambda: waiting_is(outbox, 0))
        await local_herd.stop()
        await other_herd.stop()
    await other.close()
    assert sorted(runs) == list(range(450))


async def test_a_row_whose_sender_died_before_it_removed_it_makes_no_second_event(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    outbox = make_outbox(local_herd, engine, grace=GRACE)

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    with Session(engine) as session:
        emitted = outbox.emit(session, order_placed, 7)
        session.flush()
        row = dict(session.execute(select(outbox.table)).mappings().one())
        session.commit()
    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", event_id=emitted.id)
        with engine.begin() as connection:  # as it would be there if the delete had not come about
            connection.execute(outbox.table.insert(), row)
        await until(lambda: waiting_is(outbox, 0))
        later = await order_placed.emit(8)
        await records.wait("event.end", event_id=later.id)
        await local_herd.stop()
    assert len(records.named("event.begin", event_id=emitted.id)) == 1


async def test_an_event_that_is_unknown_here_is_left_alone_and_told_once(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    outbox = make_outbox(local_herd, engine, grace=GRACE)

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    leave(outbox, engine, ["1"] * 120, "order.archived")
    known = leave(outbox, engine, ["7"])
    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", event_id=known[0])
        later = leave(outbox, engine, ["8"])  # by another sweep
        await records.wait("event.end", event_id=later[0])
        await local_herd.stop()
    (told,) = records.named("queue.error")
    assert "order.archived, which is not declared here" in told.__dict__["error"]["message"]
    assert await waiting(outbox) == 120


async def test_a_row_that_cannot_be_sent_is_marked_and_told_and_blocks_no_other(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    outbox = make_outbox(local_herd, engine, grace=GRACE)

    def customer(number: int) -> str:
        if number < 0:
            raise ValueError("secret-4711")
        return str(number)

    @local_herd.event("order.placed", shards=2, key=customer)
    async def order_placed(number: int) -> None: ...

    refused = leave(outbox, engine, ["-1"])
    damaged = leave(outbox, engine, ["2"], options="{not json")
    known = leave(outbox, engine, ["7"])
    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", event_id=known[0])
        await records.wait("queue.error", count=2)
        later = leave(outbox, engine, ["8"])
        await records.wait("event.end", event_id=later[0])
        await local_herd.stop()
    told = records.named("queue.error")
    assert {record.__dict__["event_id"] for record in told} == {str(each) for each in (*refused, *damaged)}
    assert "secret-4711" not in str([record.__dict__ for record in told])
    backlog = await outbox.backlog()
    assert (backlog.waiting, backlog.refused) == (0, 2)
    with engine.connect() as connection:
        errors = connection.execute(select(outbox.table.c.error)).scalars().all()
    assert set(errors) == {"UsageError"}


async def test_a_table_that_is_away_is_told_once_and_the_worker_goes_on(
    local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    outbox = make_outbox(local_herd, engine, grace=0.02)

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    left = leave(outbox, engine, ["7"])
    failed: list[object] = []
    event.listen(engine, "handle_error", failed.append)
    with engine.begin() as connection:
        connection.execute(text("alter table oxherd_outbox rename to elsewhere"))
    async with local_herd:
        await local_herd.start()
        await records.wait("queue.error", queue="oxherd_outbox")
        emitted = await order_placed.emit(8)
        await records.wait("event.end", event_id=emitted.id)
        await until(lambda: len(failed) >= 3)
        with engine.begin() as connection:
            connection.execute(text("alter table elsewhere rename to oxherd_outbox"))
        await records.wait("event.end", event_id=left[0])
        await local_herd.stop()
    (told,) = records.named("queue.error")
    assert told.__dict__["error"]["message"].startswith("the outbox's table cannot be read or written")


async def test_an_outage_of_redis_delays_events_and_not_commits(
    engine: Engine, make_outbox: MakeOutbox, records: Records
) -> None:
    with StandaloneServer() as server:
        herd = Oxherd(server.url, emit_timeout=0.2)
        outbox = make_outbox(herd, engine, grace=60)
        placed = herd.declare("order.placed", int)
        server.stop()
        emitted: list[Any] = []
        for number in range(3):
            with Session(engine) as session:
                emitted.append(outbox.emit(session, placed, number))
                session.commit()
        await records.wait("redis.error")
        assert not await outbox.flush(0.5)
        assert await waiting(outbox) == 3
        server.start()
        assert await outbox.flush(20)
        assert all([await each.status() for each in emitted])
        assert await waiting(outbox) == 0
        assert len(records.named("redis.error")) == 1
        await herd.close()
        await outbox.close()


@pytest.mark.parametrize("grace", [0, "soon", -1])
def test_a_wrong_grace_is_refused(grace: Any, engine: Engine, local_herd: Oxherd) -> None:
    with pytest.raises(ValueError, match="grace"):
        Outbox(local_herd, engine, grace=grace)

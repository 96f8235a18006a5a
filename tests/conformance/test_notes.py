"""Notes: lines that a handler adds to its event's job log, bounded, redacted, and shown by `herd.admin.show`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from oxherd import Allow, Context, Keep, Mask, Oxherd, OxherdError, Retry, UsageError
from oxherd.bullmq.queue import BullQueue
from tests.harness import Records

SECRET = "alice.adams@example.com"


class Order(BaseModel):
    number: int = 1
    email: Annotated[str, Mask("email")] = SECRET


async def stored(herd: Oxherd, event_id: object) -> list[str]:
    queue: BullQueue = (await herd.backend()).queue(herd["order.placed"].declaration)
    key = f"{queue.keys.base}{event_id}:logs"
    return [line.decode() for line in await queue.client.call(queue.keys.slot, "LRANGE", key, 0, -1)]


async def test_notes_of_every_attempt_are_kept_in_order_and_shown(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(order: Order, ctx: Context) -> None:
        await ctx.note(f"attempt {ctx.attempt}\nasking the bank")
        raise ValueError("no")

    async with herd:
        emitted = await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="failed")
        expected = ["attempt 1\nasking the bank", "attempt 2\nasking the bank"]
        assert await stored(herd, emitted.id) == expected
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert list(story.notes) == expected


async def test_a_def_handler_notes_from_its_thread(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=1))
    def order_placed(order: Order, ctx: Context) -> None:
        ctx.note_sync("in a thread")

    async with herd:
        emitted = await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="completed")
        assert await stored(herd, emitted.id) == ["in a thread"]


async def test_what_is_declared_private_is_in_no_note(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        await ctx.note(f"mail to {order.email}, order {order.number}")
        await ctx.note(SECRET * 500)

    async with herd:
        emitted = await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="completed")
        notes = await stored(herd, emitted.id)
        assert notes[0] == "mail to ***, order 1"
        assert "alice" not in "".join(notes)


async def test_with_nothing_declared_a_note_is_stored_as_it_is_and_shown_without_the_payload(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed", keep=Keep(completed=1))
    async def order_placed(email: str, ctx: Context) -> None:
        await ctx.note(f"mail to {email}")

    async with herd:
        emitted = await order_placed.emit(SECRET)
        await herd.start()
        await records.wait("event.end", outcome="completed")
        assert await stored(herd, emitted.id) == [f"mail to {SECRET}"]
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert story.notes == ("mail to ***",)


async def test_what_a_sanitiser_leaves_out_is_in_no_note(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=1), sanitize=Allow("number"))
    async def order_placed(order: dict[str, Any], ctx: Context) -> None:
        await ctx.note(f"mail to {order['email']}")

    async with herd:
        emitted = await order_placed.emit({"number": 1, "email": SECRET})
        await herd.start()
        await records.wait("event.end", outcome="completed")
        assert await stored(herd, emitted.id) == ["mail to ***"]


async def test_the_last_hundred_of_a_thousand_characters_are_kept(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        for number in range(103):
            await ctx.note(f"{number} " + "\U0001f40e" * 2_000)
        await ctx.note("half a pair \ud800")

    async with herd:
        emitted = await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="completed")
        notes = await stored(herd, emitted.id)
        assert len(notes) == 100
        assert notes[0].startswith("4 ")
        assert {len(note) for note in notes[:-1]} == {1_000}
        assert notes[-1] == "half a pair \\ud800"
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert len(story.notes) == 100


async def test_a_completed_event_that_is_not_kept_leaves_no_notes(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> None:
        await ctx.note("gone with the event")

    async with herd:
        emitted = await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="completed")
        assert await stored(herd, emitted.id) == []


async def test_a_run_that_lost_its_event_notes_nothing(herd: Oxherd, records: Records) -> None:
    refused: list[str] = []

    @herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> None:
        queue = (await herd.backend()).queue(herd["order.placed"].declaration)
        key = queue.keys.job(ctx.event_id)
        await queue.client.call(queue.keys.slot, "SET", f"{key}:lock", "another")
        try:
            await ctx.note("mine")
        except OxherdError as error:
            refused.append(str(error))
            raise

    async with herd:
        emitted = await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="lost")
        assert refused == ["The note is not stored: the event was given to another worker; end the handler."]
        assert await stored(herd, emitted.id) == []


async def test_misuse_and_a_damaged_log_are_named(herd: Oxherd, records: Records) -> None:
    errors: list[Exception] = []

    @herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> None:
        async def in_a_loop_of_its_own() -> None:
            await ctx.note("elsewhere")

        queue = (await herd.backend()).queue(herd["order.placed"].declaration)
        for wrong in (
            lambda: ctx.note(1),  # pyright: ignore[reportArgumentType]
            lambda: asyncio.to_thread(asyncio.run, in_a_loop_of_its_own()),
            lambda: asyncio.sleep(0, ctx.note_sync("blocks")),
        ):
            try:
                await wrong()
            except OxherdError as error:
                errors.append(error)
        await queue.client.call(queue.keys.slot, "SET", f"{queue.keys.job(ctx.event_id)}:logs", "x")
        try:
            await ctx.note("refused")
        except OxherdError as error:
            errors.append(error)

    async with herd:
        await order_placed.emit(Order())
        await herd.start()
        await records.wait("event.end", outcome="completed")
    assert [type(error) for error in errors] == [UsageError, UsageError, UsageError, OxherdError]
    assert [str(error) for error in errors] == [
        "ctx.note takes a text, such as an f-string.",
        "ctx.note belongs to the worker's event loop; in a loop of the handler's own, call ctx.note_sync(...) instead.",
        "note_sync would block the event loop for ever; await ctx.note(...) instead.",
        "The note could not be stored; mend the key of the event's job log.",
    ]


@pytest.mark.parametrize("how", ["async", "def"])
async def test_a_plain_call_stores_nothing(how: str, local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> str:
        await ctx.note("nowhere")
        return "done"

    @local_herd.event("order.paid")
    def order_paid(order: Order, ctx: Context) -> str:
        ctx.note_sync("nowhere")
        return "done"

    assert await (order_placed if how == "async" else order_paid)(Order()) == "done"

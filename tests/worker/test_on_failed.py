"""`on_failed=` at the declaration, and a Failure in its handler's hands: what is refused, shown, and sent back."""

from __future__ import annotations

import asyncio
import logging
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import (
    Allow,
    Context,
    DeclarationError,
    EventError,
    Failure,
    Keyring,
    Mask,
    Oxherd,
    Retry,
    UsageError,
)
from oxherd.testing import assert_no_leak, captured, run_until_empty
from tests.harness import Records, WorkerProcess, cli, until

SECRET = "kanarie7391"


class Invoice(BaseModel):
    number: int = 7
    email: Annotated[str, Mask("email")] = f"alice@{SECRET}.nl"
    note: str = ""


def a_failure(**changed: Any) -> Failure[Any]:
    """One made by hand, as in a unit test of a handler."""
    event_id = uuid4()
    about: dict[str, Any] = {
        "event": "invoice.send", "id": event_id, "payload": Invoice(), "error": EventError("ValueError", "no"),
        "attempts": 3, "root": event_id, "failed_at": datetime.now(UTC),
    }  # fmt: skip
    return Failure(**about | changed)


# -- at the declaration


def a_function(failure: Failure[Any]) -> None: ...


@pytest.mark.parametrize(
    ("on_failed", "kind"),
    [("invoice.failed", "str"), (a_function, "function"), (Failure, "type"), (17, "int"), (Oxherd(), "Oxherd")],
    ids=["name", "function", "class", "number", "herd"],
)
def test_on_failed_must_be_an_event(on_failed: Any, kind: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^invoice.send: on_failed must be an event .* of the type {kind};"):
        Oxherd().declare("invoice.send", Invoice, on_failed=on_failed)


def test_on_failed_must_take_failures_and_be_of_the_same_herd() -> None:
    herd, other = Oxherd(), Oxherd()
    takes_another = herd.declare("order.placed", Invoice)
    with pytest.raises(DeclarationError, match=r"on_failed is the event order.placed, whose payload is no Failure;"):
        herd.declare("invoice.send", Invoice, on_failed=takes_another)
    of_other = other.declare("invoice.failed", Failure[Invoice])
    with pytest.raises(DeclarationError, match=r"another herd's event; declare invoice.failed here\.$"):
        herd.declare("invoice.send", Invoice, on_failed=of_other)
    assert "invoice.send" not in [event.name for event in herd]


@pytest.mark.parametrize("annotation", [Failure, Failure[Invoice], Annotated[Failure[Any], "told"]], ids=str)
def test_a_failure_is_known_by_its_annotation(annotation: Any) -> None:
    herd = Oxherd()
    told = herd.declare("invoice.failed", annotation)
    assert herd.declare("invoice.send", Invoice, on_failed=told).declaration.on_failed is told
    assert herd.declare("invoice.print", Invoice, on_failed=None).declaration.on_failed is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seal": Keyring({"a": Keyring.generate()})}, "leave seal out here"),
        ({"sanitize": Allow("event")}, "write a function of the Failure here"),
    ],
)
def test_a_failure_is_sealed_and_shown_as_its_event_is(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DeclarationError, match=f"^invoice.failed: a Failure is .*{words}"):
        Oxherd().declare("invoice.failed", Failure[Invoice], **options)


# -- a Failure


async def test_a_failure_is_never_emitted_by_hand(local_herd: Oxherd) -> None:
    told = local_herd.declare("invoice.failed", Failure[Invoice])
    with pytest.raises(UsageError, match=r"^invoice.failed: a Failure is emitted when .* never by hand;"):
        await told.emit(a_failure())
    with captured(local_herd), pytest.raises(UsageError):
        told.emit_sync(a_failure())


async def test_one_made_by_hand_is_for_tests_and_is_not_sent_back() -> None:
    failure = a_failure()
    with pytest.raises(UsageError, match=r"^failure.send_back\(\) is for a Failure that a handler was given;"):
        await failure.send_back()
    with pytest.raises(UsageError, match="made by hand"):
        failure.send_back_sync()
    assert SECRET not in repr(failure)


async def test_where_the_event_is_not_declared_the_payload_is_json_that_no_log_shows(
    make_herd: Callable[..., Oxherd], standalone: str, records: Records
) -> None:
    source, target = make_herd(standalone), make_herd(standalone)
    told = source.declare("invoice.failed", Failure[Invoice])
    seen: list[Failure[Any]] = []

    @source.event("invoice.send", on_failed=told, retry=Retry(attempts=1))
    async def send_invoice(invoice: Invoice) -> None:
        raise ValueError(invoice.email)

    @target.event("invoice.failed")
    async def invoice_failed(failure: Failure[Any], ctx: Context) -> None:
        logging.getLogger("app").info("no mail to %s", failure.payload["email"])
        seen.append(failure)
        await failure.send_back()

    async with source, target:
        await source.start()
        await target.start()
        await send_invoice.emit(Invoice())
        (end,) = await records.wait("event.end", event="invoice.failed")
    assert seen[0].payload == Invoice().model_dump()
    assert not seen[0].typed
    assert "payload" not in vars(records.named("event.begin", event="invoice.failed")[0])["payload"]
    assert "invoice.send is not declared on this herd in this process" in end.error["message"]
    assert SECRET not in "".join(str(vars(record)) for record in records.all)


def only_number(invoice: Invoice) -> dict[str, int]:
    return {"number": invoice.number}


@pytest.mark.parametrize("sanitize", [None, only_number], ids=["masks", "sanitiser"])
async def test_the_log_of_a_failure_shows_of_the_payload_what_its_event_shows(
    sanitize: Any, local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("invoice.failed", retry=Retry(attempts=1))
    async def invoice_failed(failure: Failure[Invoice], ctx: Context) -> None:
        ctx.log.info("failed: %s, %s of %s", failure.error.message, failure.payload.email, failure.id)
        raise LookupError(f"nobody is {failure.payload.email}")

    @local_herd.event("invoice.send", on_failed=invoice_failed, sanitize=sanitize, retry=Retry(attempts=1))
    async def send_invoice(invoice: Invoice) -> None:
        raise ValueError("refused")

    async with local_herd:
        await local_herd.start()
        emitted = await send_invoice.emit(Invoice(number=8))
        await records.wait("event.end", event="invoice.failed")
    (begin,) = records.named("event.begin", event="invoice.failed")
    shown = {"number": 8} | ({} if sanitize else {"email": "a***@***", "note": ""})
    assert vars(begin)["payload"]["payload"] == shown
    assert records.named(f"failed: refused, *** of {emitted.id}")
    assert SECRET not in "".join(str(vars(record)) for record in records.all)


async def test_a_sanitiser_of_its_own_is_given_the_failure(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("invoice.failed", sanitize=lambda failure: {"n": failure.payload.number, "of": failure.payload})
    async def invoice_failed(failure: Failure[Invoice]) -> None: ...

    @local_herd.event("invoice.send", on_failed=invoice_failed, retry=Retry(attempts=1))
    async def send_invoice(invoice: Invoice) -> None:
        raise ValueError("refused")

    async with local_herd:
        await local_herd.start()
        await send_invoice.emit(Invoice())
        (begin,) = await records.wait("event.begin", event="invoice.failed")
    assert begin.payload == {"n": 7, "of": {"number": 7, "email": "a***@***", "note": ""}}


async def test_a_payload_as_large_as_its_event_allows_is_told(local_herd: Oxherd) -> None:
    notes: list[int] = []

    @local_herd.event("invoice.failed")
    async def invoice_failed(failure: Failure[Invoice]) -> None:
        notes.append(len(failure.payload.note))

    @local_herd.event("invoice.send", on_failed=invoice_failed, retry=Retry(attempts=1))
    async def send_invoice(invoice: Invoice) -> None:
        raise ValueError

    async with local_herd:
        await local_herd.start()
        await send_invoice.emit(Invoice(note="x" * (1024 * 1024 - 80)))
        await until(lambda: notes)
    assert notes == [1024 * 1024 - 80]


async def test_a_stop_sends_what_has_just_failed(local_herd: Oxherd, records: Records) -> None:
    told = local_herd.declare("invoice.failed", Failure[int])

    @local_herd.event("invoice.send", on_failed=told, retry=Retry(attempts=1))
    async def send_invoice(number: int) -> None:
        await asyncio.sleep(0.05)
        raise ValueError

    async with local_herd:
        await local_herd.start()
        await send_invoice.emit_many(range(5))
        await records.wait("event.begin", count=5)
        await local_herd.stop()
        backend = await local_herd.backend()
        assert (await backend.queue(told.declaration).counts())["wait"] == 5
        keys = backend.queue(send_invoice.declaration).keys
        assert await backend.client.call(keys.slot, "HLEN", keys.outbox) == 0


async def test_run_until_empty_waits_for_the_failures(local_herd: Oxherd) -> None:
    seen: list[int] = []

    @local_herd.event("invoice.failed")
    async def invoice_failed(failure: Failure[int]) -> None:
        seen.append(failure.payload)

    @local_herd.event("invoice.send", on_failed=invoice_failed)
    async def send_invoice(number: int) -> None:
        raise ValueError

    async with local_herd:
        await send_invoice.emit_many(range(20))
        await run_until_empty(local_herd)
    assert sorted(seen) == list(range(20))


async def test_a_payload_nested_as_deep_as_one_may_be_is_told_also_in_the_failure_of_a_failure(
    local_herd: Oxherd,
) -> None:
    told: list[bool] = []

    @local_herd.event("told.failed")
    async def told_failed(failure: Failure[Failure[list[Any]]]) -> None:
        told.append(failure.typed and failure.payload.typed)

    @local_herd.event("invoice.failed", retry=Retry(attempts=1), on_failed=told_failed)
    async def invoice_failed(failure: Failure[list[Any]]) -> None:
        told.append(failure.typed)
        raise ValueError

    @local_herd.event("invoice.send", retry=Retry(attempts=1), on_failed=invoice_failed)
    async def send_invoice(lines: list[Any]) -> None:
        raise ValueError

    deepest: list[Any] = []
    for _ in range(199):
        deepest = [deepest]
    async with local_herd:
        await send_invoice.emit(deepest)
        await run_until_empty(local_herd)
    assert told == [True, True]


def test_an_event_with_on_failed_is_tested_for_leaks_as_any(local_herd: Oxherd) -> None:
    told = local_herd.declare("invoice.failed", Failure[Invoice])

    @local_herd.event("invoice.send", on_failed=told, sanitize=lambda invoice: {"number": invoice.number})
    async def send_invoice(invoice: Invoice) -> None:
        raise ValueError(f"no mail for {invoice.email}")

    assert_no_leak(send_invoice, Invoice())
    with pytest.raises(UsageError, match=r"^invoice.failed: a Failure has no payload of its own;"):
        assert_no_leak(told)


# -- other handlers

APP = """
from typing import Annotated
from pydantic import BaseModel
from oxherd import Failure, Mask, Oxherd, Retry

herd = Oxherd(prefix={prefix!r})

class Invoice(BaseModel):
    number: int
    email: Annotated[str, Mask("email")]

@herd.event("invoice.failed", run_in={run_in!r}, retry=Retry(attempts=1))
def invoice_failed(failure: Failure[Invoice]) -> None:
    print("told", failure.payload.number, failure.attempts, flush=True)
    if failure.payload.number == 1:
        raise ValueError(failure.payload.email)
    if failure.payload.number == 2:
        print("sent back", failure.send_back_sync(), flush=True)

@herd.event("invoice.send", on_failed=invoice_failed, retry=Retry(attempts=1))
async def send_invoice(invoice: Invoice) -> None:
    raise ValueError
"""


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_a_def_handler_sends_back_from_its_thread_or_process(
    run_in: str, standalone: str, prefix: str, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix, run_in=run_in))
    for number in (1, 2):
        payload = f'{{"number": {number}, "email": "alice@{SECRET}.nl"}}'
        assert cli(tmp_path, "emit", "app:herd", "invoice.send", payload, url=standalone).returncode == 0
    worker = start_worker(url=standalone)
    worker.wait("event.end", event="invoice.failed", outcome="failed")
    worker.wait("event.end", event="invoice.failed", outcome="completed", count=2)
    worker.stop()
    printed = worker.output.read_text()
    assert "told 1 1" in printed
    assert "sent back True" in printed
    assert SECRET not in worker.log.read_text()

"""`oxherd emit`: validates all payloads, emits them, and prints their UUIDs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from oxherd.cli.herd_loader import load_herd
from oxherd.cli.output import read_input, write_line
from oxherd.declaration import check_name
from oxherd.emitted import Emitted
from oxherd.errors import DeclarationError, EmitError, InvalidPayload, OxherdError, PayloadTooLarge, UsageError
from oxherd.event import Event


def run(target: str, name: str, text: str) -> None:
    """Emit the payload `text`, or with `-` one for each line of standard input."""
    herd = load_herd(target)
    try:
        check_name(name)
    except DeclarationError:
        # Not quoted in the message: with arguments in the wrong order it is a payload.
        raise UsageError(
            "The second argument is not an event name; write MODULE:HERD, then EVENT, then JSON."
        ) from None
    event = herd[name]
    if text == "-":
        payloads = [_decode(event, line, number) for number, line in enumerate(read_input(), 1) if line.strip()]
    else:
        payloads = [_decode(event, text.encode("utf-8", "surrogateescape"), None)]
    asyncio.run(_emit(event, payloads))


def _decode(event: Event[Any, Any], raw: bytes, line: int | None) -> Any:
    payload_type = event.declaration.payload
    where = "" if line is None else f"line {line}: "
    try:
        payload = payload_type.decode(raw)
        payload_type.encode(payload)
    except (InvalidPayload, PayloadTooLarge) as error:
        kind, message = type(error), f"{where}{error}"
    else:
        return payload
    raise kind(message)


async def _emit(event: Event[Any, Any], payloads: list[Any]) -> None:
    # Not `async with`, which first connects to the server, outside the emit's deadline.
    try:
        _print(await event.emit_many(payloads))
    except EmitError as error:
        _print(error.emitted)
        raise
    finally:
        await event.herd.close()


def _print(emitted: list[Emitted[Any]]) -> None:
    try:
        for each in emitted:
            write_line(str(each.id))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"The event {emitted[0].id} was" if len(emitted) == 1 else f"All {len(emitted)} events were"
        raise OxherdError(f"{what} emitted, but standard output cannot be written ({error.strerror}).") from None

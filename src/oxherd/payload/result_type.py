"""A result's type: JSON in the queue, sealed where the event is, and validated back for whoever asks for it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from oxherd.errors import InvalidResult, is_interrupt
from oxherd.payload.encryption import MARK
from oxherd.payload.keyring import CannotOpen, Keyring, Sealing

_CONTEXT: Final = "oxherd:result"


class ResultType:
    """The type of an event's results; `annotation` is Any where none is known, and `is_sealed` says if they are sealed.

    A result of an event with `seal=` is sealed whole, bound to its event, prefix and id.
    """

    def __init__(self, annotation: Any, event: str, seal: Keyring | Sealing | None, prefix: str) -> None:
        self.annotation = annotation
        self._event = event
        self._prefix = prefix
        self._seal_option = seal
        self._keyring = seal.keyring if isinstance(seal, Sealing) else seal
        self.is_sealed = self._keyring is not None

    def annotated(self, annotation: Any) -> ResultType:
        """The same with another annotation."""
        return ResultType(annotation, self._event, self._seal_option, self._prefix)

    def seal(self, raw: bytes, event_id: str) -> bytes:
        """A result's JSON as it is stored. Raises ConfigError if a key cannot be read."""
        if self._keyring is None or raw == b"null":
            return raw
        return b'{"%s":"%s"}' % (MARK.encode(), self._keyring.seal(raw, self._context(event_id)).encode())

    def read(self, stored: bytes, event_id: str) -> Any:
        """A stored result as its type.

        Raises:
            InvalidResult: it does not fit the type, or does not open here; the message shows no value.
        """
        why = ""
        try:
            raw = self._open(stored, event_id)
            if self._adapter is None:
                return from_json(raw)
            return self._adapter.validate_json(raw)
        except CannotOpen as error:
            why = f"does not open here: the Keyring has no key {error.key!r}, or the text was changed or moved"
        except ValidationError:
            if stored == b"null":
                return None  # it had no JSON, or another program ended the event
            why = "does not fit its type: ask with the declaration that the handler returned it by"
        except BaseException as error:  # a type's own code may raise anything, with the value in it
            if is_interrupt(error):
                raise
            why = f"cannot be read ({type(error).__name__})"
        raise InvalidResult(f"{self._event}: the result of {event_id} {why}.")

    def _open(self, stored: bytes, event_id: str) -> bytes:
        if MARK.encode() not in stored:
            return stored
        value = from_json(stored)
        sealed = value.get(MARK) if isinstance(value, dict) and len(value) == 1 else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportUnknownArgumentType]
        if not isinstance(sealed, str):
            return stored
        if self._keyring is None:
            raise CannotOpen(None)
        return self._keyring.open(sealed, self._context(event_id))

    @cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        """The validator; None where pydantic has none for the annotation: the result is plain JSON then."""
        if self.annotation is Any:
            return None
        try:
            return TypeAdapter(self.annotation)
        except Exception:  # noqa: BLE001 - a handler may return what it likes; `declare(result=)` is checked
            return None

    def _context(self, event_id: str) -> bytes:
        return json.dumps([_CONTEXT, self._prefix, self._event, event_id]).encode()

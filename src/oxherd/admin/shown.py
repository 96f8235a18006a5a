"""What may be shown of a stored job: of its payload what the log shows, and its errors without what that withholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oxherd.errors import InvalidPayload, OxherdError, SealError
from oxherd.event import Event
from oxherd.payload.failure import EventError
from oxherd.privacy.error_text import LONGEST_MESSAGE
from oxherd.privacy.redaction import UNREADABLE, Redactor
from oxherd.privacy.shown_payload import Sanitizer

_LONGEST_TYPE = 200


@dataclass(frozen=True, slots=True)
class ShownJob:
    """What is shown of a job's payload, or why nothing is; and what redacts its texts, None where nothing can."""

    payload: Any
    note: str | None
    redactor: Redactor | None

    def text(self, text: str, longest: int = LONGEST_MESSAGE) -> str:
        """A text without what is withheld of the payload; a fixed one where that cannot be ensured."""
        return UNREADABLE if self.redactor is None else self.redactor.redact(text)[:longest]

    def error(self, error_type: str, message: str) -> EventError:
        """An error that another program may have written."""
        return EventError(self.text(error_type[:_LONGEST_TYPE]) if error_type else "", self.text(message))


class Shown:
    """Shows jobs; makes each event's sanitiser once."""

    def __init__(self) -> None:
        self._sanitizers: dict[Event[Any, Any], Sanitizer[Any]] = {}

    def job(self, event: Event[Any, Any] | None, data: bytes) -> ShownJob:
        """What is shown of a job of an event, from its stored payload."""
        if event is None:
            return ShownJob(None, "no event of this herd has its name", Redactor(data, None, frozenset()))
        typed = event.declaration.payload
        try:
            raw = typed.open(data)
        except (SealError, OxherdError, ValueError):
            return ShownJob(None, "it is sealed, and does not open here", None)
        try:
            payload = typed.decode(raw)
        except InvalidPayload:
            return ShownJob(None, "it does not fit the event's type", Redactor(raw, None, frozenset()))
        sanitizer = self._sanitizers.get(event)
        if sanitizer is None:
            sanitizer = self._sanitizers[event] = event.sanitizer()
        shown = sanitizer.show(payload)
        note = None
        if shown.withheld is not None:
            note = f"its sanitiser failed ({shown.withheld})"
        elif shown.json is None:
            note = "neither a sanitiser nor masks say what may be shown"
        redactor = Redactor(raw, shown.json, sanitizer.privacy_for(payload).field_names)
        return ShownJob(shown.value, note, redactor)

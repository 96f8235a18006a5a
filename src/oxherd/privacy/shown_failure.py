"""What the log shows of a Failure: what happened, and of the payload what the failed event's own log shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from oxherd.errors import DeclarationError, is_interrupt
from oxherd.payload.failure import Failure, FailureType
from oxherd.payload.payload_type import PayloadType
from oxherd.privacy.allow import Allow
from oxherd.privacy.redaction import Privacy
from oxherd.privacy.shown_payload import Sanitizer, ShownPayload, to_shown


class FailureSanitizer(Sanitizer[Any]):
    """Shows failures by the sanitisers and masks of the events that failed, or by the user's function of a Failure.

    Raises:
        DeclarationError: an Allow, or a function as `Sanitizer` refuses it.
    """

    def __init__(self, payload_type: FailureType, function: Callable[[Any], Any] | Allow | None = None) -> None:
        if isinstance(function, Allow):
            raise DeclarationError(
                f"{payload_type.event}: a Failure is shown as the event that failed is; give that the Allow(...), or "
                "write a function of the Failure here."
            )
        super().__init__(payload_type, function)
        self._failures = payload_type
        self._sources: dict[str, Sanitizer[Any]] = {}

    def show(self, payload: Any) -> ShownPayload:
        """Show one Failure; never raises: any error withholds it."""
        try:
            value = payload if self._function is None else self._function(payload)
            if value is payload:
                return self._show(payload)
            return ShownPayload(to_json(to_shown(value), inf_nan_mode="null"))
        except BaseException as error:  # a payload in doubt is not shown
            if is_interrupt(error):
                raise
            return ShownPayload(withheld=type(error).__name__)

    def _show(self, failure: Failure[Any]) -> ShownPayload:
        shown: dict[str, Any] = {
            "event": failure.event,
            "id": failure.id,
            "error": failure.error._asdict(),
            "attempts": failure.attempts,
            "caused_by": failure.caused_by,
            "root": failure.root,
            "failed_at": failure.failed_at,
        }
        sanitizer = self._of(failure)
        part = ShownPayload() if sanitizer is None else sanitizer.show(failure.payload)
        if part.json is not None:
            shown["payload"] = part.value
        return ShownPayload(to_json(shown), part.withheld)

    def privacy_for(self, payload: Any) -> Privacy:
        """What else of a Failure is private: as its event declares, and all of it if that is not known here."""
        sanitizer = self._of(payload)
        if sanitizer is None:
            return Privacy(self._failures.field_names, declared=True, sealed=None)
        privacy = sanitizer.privacy
        # What is sealed is named by its path in the event's own payload: here all of that is private.
        return Privacy(self._failures.field_names, privacy.declared or privacy.sealed is not None, None)

    def _of(self, failure: Failure[Any]) -> Sanitizer[Any] | None:
        """The sanitiser of the failed event; None if that is not declared here, or its payload cannot be read."""
        name = failure.event
        source = self._failures.sources.get(name)
        if source is None or not failure.typed:
            return None
        found = self._sources.get(name)
        if found is None:
            found = self._sources[name] = source.sanitizer()
        return found


def sanitizer_of(
    payload_type: PayloadType[Any], function: Callable[[Any], Any] | Allow | None = None
) -> Sanitizer[Any]:
    """What shows the payloads of a type; raises DeclarationError as `Sanitizer`."""
    if isinstance(payload_type, FailureType):
        return FailureSanitizer(payload_type, function)
    return Sanitizer(payload_type, function)

"""An error as it may leave the process: scrubbed of what the log withholds."""

from __future__ import annotations

import asyncio
from typing import Any

from oxherd.context import Reason
from oxherd.scrub import Scrubber, scrub_exception, stack
from oxherd.signals import ErrorInfo


def describe_failure(
    error: BaseException | None, reason: Reason | None, data: bytes, shown: Any, field_names: frozenset[str]
) -> ErrorInfo:
    """Type, message and frames of a handler's failure; `reason` speaks where the error is only its cancellation."""
    if error is None or (reason is not None and isinstance(error, asyncio.CancelledError)):
        return ErrorInfo(type(reason).__name__ if reason is not None else "Cancelled", str(reason))
    kind, message = scrub_exception(error, Scrubber(data, shown.json, field_names))
    return ErrorInfo(kind, message, stack(error))

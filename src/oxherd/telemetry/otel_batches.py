"""Many spans for a batch span processor of OpenTelemetry's SDK at once, for which it has no call.

Its `on_end` asks each span for its place, which an exporter asks again, and looks again at what is the same for all of
a turn. Here they are put on its queue as `on_end` would put each, by names that are private to the SDK: only in the
versions in which both ways have been compared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan, export
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.version import __version__ as version

_COMPARED: Final = ("1.43.0", "1.44.0", "1.45.0", "1.45.1", "1.45.2")


def _is_its_own(on_end: Any) -> bool:
    """Whether nobody has put another `on_end` in its place, as is done to filter spans, or to add to them."""
    return getattr(getattr(on_end, "__func__", None), "__globals__", None) is vars(export)


def take_all(processor: object, spans: Sequence[ReadableSpan]) -> bool:
    """Give a batch span processor these spans, each of which is sampled.

    False, and none is given, where each is to be given alone: it is another processor, or one that has to do more with
    them than to keep them.
    """
    if type(processor) is not BatchSpanProcessor or version not in _COMPARED or not _is_its_own(processor.on_end):
        return False
    batch: Any = processor._batch_processor  # pyright: ignore[reportPrivateUsage]
    queue = batch._queue
    # Shut down, in a process that was forked, or full: it says so, or begins anew, with each.
    if batch._shutdown or batch._pid != os.getpid() or len(queue) + len(spans) > batch._max_queue_size:
        return False
    queue.extendleft(spans)
    if len(queue) >= batch._max_export_batch_size and not batch._worker_awaken.is_set():
        batch._worker_awaken.set()
    return True

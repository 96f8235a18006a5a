"""Where code is, as `file:line function`: without source text, values or folders, so that it holds no payload."""

from __future__ import annotations

from pathlib import PurePath
from traceback import walk_tb
from types import FrameType
from typing import Final

MOST_FRAMES: Final = 50

_OWN_FRAMES: Final = (
    "oxherd/handler.py",
    "worker/running/execution.py",
    "worker/running/result.py",
    "worker/executors/executor.py",
    "worker/executors/middleware.py",
    "worker/executors/thread_call.py",
    "worker/executors/child.py",
    "oxherd/resources/resolution.py",
    "oxherd/resources/sync_middleware.py",
    "oxherd/django/connections.py",
    "oxherd/django/tasks/running.py",
    "oxherd/flask.py",
    "concurrent/futures/thread.py",
)
_LOOP_FRAMES: Final = ("asyncio/events.py", "asyncio/base_events.py", "asyncio/runners.py")


def exception_stack(exc: BaseException) -> list[str]:
    """The frames that an exception passed, innermost last, without oxherd's around the handler."""
    frames = [
        _frame(frame, line)
        for frame, line in walk_tb(exc.__traceback__)
        if not frame.f_code.co_filename.endswith(_OWN_FRAMES)
    ]
    return frames[-MOST_FRAMES:]


def event_loop_stack(frame: FrameType | None) -> list[str]:
    """The current frames of an event loop's thread, innermost last, up to the loop or the handler."""
    frames: list[str] = []
    while frame is not None and len(frames) < MOST_FRAMES:
        if frames and frame.f_code.co_filename.endswith((*_OWN_FRAMES, *_LOOP_FRAMES)):
            break
        frames.append(_frame(frame, frame.f_lineno))
        frame = frame.f_back
    return frames[::-1]


def _frame(frame: FrameType, line: int | None) -> str:
    return f"{PurePath(frame.f_code.co_filename).name}:{line or 0} {frame.f_code.co_name}"

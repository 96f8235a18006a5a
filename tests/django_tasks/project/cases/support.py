"""What the cases share: a worker in another process, and the end of a task to wait for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from oxherd import EventFailed, NoResult

DEADLINE = 30


@contextmanager
def worker(*options: str) -> Generator[subprocess.Popen[bytes]]:
    """A worker of all queues; its log is in the file that it shares with the case."""
    with Path(os.environ["TEST_LOG"]).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "oxherd", "worker", "--log-format", "json", *options], stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def event_of(result: Any) -> Any:
    """The emitted event of a task."""
    event = result.task.get_backend().events[result.task.queue_name]
    return event.emitted(UUID(result.id))


def ended(result: Any) -> Any:
    """The result, once its task has ended."""
    with suppress(EventFailed, NoResult):
        event_of(result).result_sync(timeout=DEADLINE)
    result.refresh()
    assert result.is_finished, result
    return result


def signals(result: Any) -> list[tuple[str, str, str | None]]:
    """The signals of a task so far (None: of all): name, status, the receiver's error; first that it was enqueued.

    That is sent here, perhaps after the worker has sent that it began.
    """
    lines = [json.loads(line) for line in Path(os.environ["TEST_SIGNALS"]).read_text().splitlines()]
    found = [
        (name, status, raised)
        for name, _, result_id, status, raised in lines
        if result is None or result_id == result.id
    ]
    return sorted(found, key=lambda each: each[0] != "enqueued")


def log() -> list[dict[str, Any]]:
    """The records of the worker so far."""
    lines = Path(os.environ["TEST_LOG"]).read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n") and line.startswith("{")]

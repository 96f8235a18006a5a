"""What becomes of a task whose worker is killed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from django.test import SimpleTestCase
from shop import tasks

from cases.support import DEADLINE, ended, event_of, signals, worker
from oxherd.django.tasks.interface import TaskResultStatus


def until_it_runs(result: Any, path: Path) -> None:
    """Wait until the task is in its function."""
    deadline = monotonic() + DEADLINE
    while not path.exists() and monotonic() < deadline:
        sleep(0.02)
    result.refresh()
    assert result.status == TaskResultStatus.RUNNING, result


class Dying(SimpleTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(dir=Path(os.environ["TEST_LOG"]).parent)
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "begun"

    def test_the_task_begins_again_elsewhere(self) -> None:
        result = tasks.slow_at_first.enqueue(str(self.path))
        with worker():
            until_it_runs(result, self.path)
            self.assertEqual(result.attempts, 1)
        result.refresh()
        self.assertEqual(result.status, TaskResultStatus.RUNNING)  # until another worker finds out
        with worker():
            ended(result)
        self.assertEqual((result.status, result.return_value), (TaskResultStatus.SUCCESSFUL, "the second time"))
        self.assertEqual((result.attempts, len(set(result.worker_ids))), (2, 2))
        self.assertLess(result.started_at, result.last_attempted_at)
        self.assertEqual([name for name, *_ in signals(result)], ["enqueued", "started", "started", "finished"])

    def test_what_a_stop_puts_back_is_ready(self) -> None:
        result = tasks.endless.enqueue()
        with worker("--stop-timeout", "0.5") as process:
            deadline = monotonic() + DEADLINE
            while "begun" not in Path(os.environ["TEST_NOTES"]).read_text() and monotonic() < deadline:
                sleep(0.02)
            process.terminate()
            process.wait(DEADLINE)
        result.refresh()
        self.assertEqual((result.status, result.errors, result.attempts), (TaskResultStatus.READY, [], 1))
        self.assertEqual([name for name, *_ in signals(result)], ["enqueued", "started"])

    def test_one_that_kills_every_worker_has_failed(self) -> None:
        result = tasks.slow_at_first.enqueue(str(self.path))
        for _ in range(2):
            with worker():
                until_it_runs(result, self.path)
            self.path.unlink()
        with worker():
            ended(result)
        self.assertEqual(result.status, TaskResultStatus.FAILED)
        (error,) = result.errors
        self.assertTrue(issubclass(error.exception_class, Exception))
        self.assertIn("stalled", error.traceback)
        self.assertEqual(event_of(result).status_sync().state, "failed")

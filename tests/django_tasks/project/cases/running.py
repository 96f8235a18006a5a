"""What becomes of a task, with a worker in another process."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from django.test import SimpleTestCase
from shop import tasks

from cases.support import DEADLINE, ended, event_of, log, signals, worker
from oxherd import EventCancelled, UsageError
from oxherd.django import herd
from oxherd.django.tasks.interface import TaskResultDoesNotExist, TaskResultStatus, task_backends
from oxherd.testing import captured, inline

running = worker()


def setUpModule() -> None:
    running.__enter__()


def tearDownModule() -> None:
    running.__exit__(None, None, None)


async def stored(event: Any, job_id: str) -> Any:
    """All that Redis has of a job."""
    backend = await herd.backend()
    keys = backend.queue(event.declaration).keys
    return await backend.client.call(keys.slot, "HGETALL", keys.job(job_id))


class Run(SimpleTestCase):
    def test_a_task_ends_with_what_it_returned(self) -> None:
        for task in (tasks.add, tasks.add_later, tasks.add.using(queue_name="mail")):
            result = ended(task.enqueue("a", other="b"))
            self.assertEqual((result.status, result.return_value), (TaskResultStatus.SUCCESSFUL, "ab"))
            self.assertEqual((result.errors, result.attempts), ([], 1))
            self.assertEqual(len(result.worker_ids), 1)
            moments = [result.enqueued_at, result.started_at, result.finished_at]
            self.assertEqual(moments, sorted(moments))
            self.assertEqual(result.last_attempted_at, result.started_at)
            self.assertEqual(task.get_result(result.id), result)
            self.assertEqual(
                signals(result),
                [("enqueued", "READY", None), ("started", "RUNNING", None), ("finished", "SUCCESSFUL", None)],
            )

    def test_none_is_a_result_as_well(self) -> None:
        result = ended(tasks.nothing.enqueue())
        self.assertIsNone(result.return_value)
        self.assertEqual(result.status, TaskResultStatus.SUCCESSFUL)

    def test_arguments_arrive_as_they_were_enqueued(self) -> None:
        args, kwargs = [1, 2.5, "é\u2028", None, True, {"a": [1]}], {"task": "x", "message": [{}]}
        self.assertEqual(ended(tasks.echo.enqueue(*args, **kwargs)).return_value, [args, kwargs])

    def test_a_result_is_made_json_as_django_does(self) -> None:
        self.assertEqual(ended(tasks.bytes_and_tuples.enqueue()).return_value, {"bytes": "text", "tuple": [1, 2]})
        result = ended(tasks.no_json.enqueue())
        self.assertEqual(result.errors[0].exception_class, TypeError)
        self.assertIn("Unsupported type", result.errors[0].traceback)

    def test_a_task_is_given_its_context(self) -> None:
        result = ended(tasks.about.enqueue("id"))
        self.assertEqual(result.return_value, result.id)
        for what, value in (("attempt", "1"), ("status", "RUNNING")):
            self.assertEqual(ended(tasks.about.enqueue(what)).return_value, value)
        result = ended(tasks.about.enqueue("worker_ids"))
        self.assertEqual(result.return_value, str(result.worker_ids))
        result = ended(tasks.about_later.enqueue())
        self.assertEqual(result.return_value, [1, result.id, "RUNNING"])

    def test_sync_code_under_a_coroutine_runs_in_the_workers_thread_whose_connections_are_clean(self) -> None:
        self.assertIn("oxherd-django.tasks", ended(tasks.thread_of_sync_code.enqueue()).return_value)

    def test_a_deferred_task_runs_when_it_is_due(self) -> None:
        moment = datetime.now(UTC) + timedelta(seconds=0.5)
        result = ended(tasks.add.using(run_after=moment).enqueue(1, 2))
        self.assertGreaterEqual(result.started_at, moment - timedelta(milliseconds=1))
        self.assertEqual(
            ended(tasks.add.using(run_after=datetime(2020, 1, 1, tzinfo=UTC)).enqueue(1, 2)).return_value, 3
        )

    def test_tasks_run_by_priority_and_then_in_their_order(self) -> None:
        event = task_backends["one"].events["default"]
        herd.run_sync(event.pause())
        names = [("last", -100), ("third", 0), ("fourth", 0), ("first", 100), ("second", 1)]
        results = [tasks.mark.using(priority=priority).enqueue(name) for name, priority in names]
        herd.run_sync(event.resume())
        for result in results:
            ended(result)
        lines = Path(os.environ["TEST_NOTES"]).read_text().split()
        self.assertEqual([line for line in lines if line != "begun"], ["first", "second", "third", "fourth", "last"])

    def test_a_sealed_queue_stores_neither_arguments_nor_results_in_plain_text(self) -> None:
        result = ended(tasks.echo.using(backend="sealed").enqueue("sealed-secret"))
        self.assertEqual((result.args, result.return_value), (["sealed-secret"], [["sealed-secret"], {}]))
        failed = ended(tasks.fail.using(backend="sealed").enqueue("sealed-secret"))
        self.assertTrue(failed.errors[0].traceback.endswith("ValueError: ***\n"))
        event = task_backends["sealed"].events["default"]
        for each in (result, failed):
            self.assertNotIn("sealed-secret", str(herd.run_sync(stored(event, each.id))))

    def test_tasks_with_a_key_run(self) -> None:
        results = [tasks.keyed.using(queue_name=queue).enqueue("ada") for queue in ("default", "sharded") * 2]
        self.assertEqual([ended(result).return_value for result in results], ["ada"] * 4)

    def test_the_log_names_the_task_and_none_of_its_arguments(self) -> None:
        result = ended(tasks.fail.enqueue("a-secret-of-the-log"))
        records = [record for record in log() if record.get("event_id") == result.id]
        self.assertEqual(
            next(record["payload"] for record in records if "payload" in record), {"task": "shop.tasks.fail"}
        )
        self.assertNotIn("a-secret-of-the-log", str(log()))


class Fail(SimpleTestCase):
    def test_a_task_that_raises_has_failed(self) -> None:
        for task in (tasks.fail, tasks.fail_later):
            result = ended(task.enqueue("the-argument-itself"))
            self.assertEqual((result.status, result.attempts), (TaskResultStatus.FAILED, 1))
            with self.assertRaisesMessage(ValueError, "Task failed"):
                _ = result.return_value
            (error,) = result.errors
            self.assertIs(error.exception_class, ValueError)
            self.assertIn("raise ValueError(message)", error.traceback)
            self.assertTrue(error.traceback.endswith("\nValueError: ***\n"), error.traceback)
            self.assertNotIn("the-argument-itself", str(result.errors))
            self.assertEqual(signals(result)[-1], ("finished", "FAILED", "ValueError"))

    def test_a_task_whose_result_nobody_could_read_back_has_failed(self) -> None:
        for how in ("long", "nested"):
            result = ended(tasks.unreadable.enqueue(how))
            self.assertEqual(result.status, TaskResultStatus.FAILED)
            self.assertIs(result.errors[0].exception_class, ValueError)

    def test_a_message_without_an_argument_is_whole(self) -> None:
        (error,) = ended(tasks.leave.enqueue()).errors
        self.assertIs(error.exception_class, SystemExit)
        self.assertTrue(error.traceback.endswith("\nSystemExit: I leave\n"))

    def test_wrong_arguments_are_the_tasks_error(self) -> None:
        (error,) = ended(tasks.add.enqueue(1)).errors
        self.assertIs(error.exception_class, TypeError)

    def test_a_task_is_tried_again_as_the_backend_or_the_task_says(self) -> None:
        result = ended(tasks.third_time_lucky.enqueue())
        self.assertEqual((result.status, result.attempts), (TaskResultStatus.SUCCESSFUL, 3))
        self.assertEqual(result.return_value, ["builtins.ConnectionError"] * 2)
        self.assertEqual([error.traceback.split()[-1] for error in result.errors], ["1", "2"])
        self.assertLess(result.started_at, result.last_attempted_at)
        names = [name for name, *_ in signals(result)]
        self.assertEqual(names, ["enqueued", "started", "started", "started", "finished"])
        for task, attempts in ((tasks.always, 3), (tasks.twice, 2), (tasks.never, 1), (tasks.discard, 1)):
            result = ended(task.enqueue())
            self.assertEqual((result.status, result.attempts), (TaskResultStatus.FAILED, attempts))
            self.assertEqual(len(result.errors), attempts)
            self.assertEqual([name for name, *_ in signals(result)].count("finished"), 1)

    def test_a_coroutine_ends_with_its_time(self) -> None:
        (error,) = ended(tasks.impatient.enqueue()).errors
        self.assertIs(error.exception_class, TimeoutError)
        self.assertTrue(error.traceback.endswith("timed out after 0.2 s\n"))

    def test_the_backends_time_is_kept_as_well(self) -> None:
        (error,) = ended(tasks.asleep.using(backend="brisk").enqueue()).errors
        self.assertIs(error.exception_class, TimeoutError)
        self.assertTrue(error.traceback.endswith("timed out after 0.3 s\n"), error.traceback)

    def test_a_task_that_snoozes_has_not_failed(self) -> None:
        result = ended(tasks.snooze_once.enqueue())
        self.assertEqual((result.return_value, result.errors, result.attempts), (2, [], 2))

    def test_a_task_that_is_cancelled_has_failed(self) -> None:
        result = tasks.endless.enqueue()
        deadline = monotonic() + DEADLINE
        while tasks.endless.get_result(result.id).status != TaskResultStatus.RUNNING and monotonic() < deadline:
            sleep(0.02)
        self.assertTrue(event_of(result).cancel_sync("too long"))
        with self.assertRaises(EventCancelled):
            event_of(result).result_sync(timeout=DEADLINE)
        result.refresh()
        self.assertEqual(result.status, TaskResultStatus.FAILED)
        self.assertIn("CancelledError", str([error.exception_class for error in result.errors]))

    def test_a_waiting_task_that_is_cancelled_is_gone(self) -> None:
        result = tasks.add.using(run_after=datetime.now(UTC) + timedelta(hours=1)).enqueue(1, 2)
        self.assertTrue(event_of(result).cancel_sync())
        with self.assertRaises(TaskResultDoesNotExist):
            result.refresh()

    def test_an_operators_retry_runs_it_again(self) -> None:
        result = ended(tasks.always.enqueue())
        operation = herd.admin.retry(ids=[UUID(result.id)])
        self.assertEqual(operation.run_sync().done, 1)
        result = ended(result)
        self.assertEqual(result.status, TaskResultStatus.FAILED)
        self.assertGreater(result.attempts, 3)

    def test_a_message_of_somebody_else_runs_nothing_that_is_no_task(self) -> None:
        event = task_backends["default"].events["default"]
        given = {
            "args": ["touch /tmp/x"],
            "kwargs": {},
            "backend": "default",
            "queue": "default",
            "priority": 0,
            "attempts": 1,
        }
        for path in ("os.system", "shop.tasks.note", "shop.nowhere", "nowhere.at.all", "", "..", "shop.tasks.add.func"):
            emitted = event.emit_sync({"task": path, **given})
            with self.assertRaisesRegex(Exception, r"InvalidTask(Error)?: "):
                emitted.result_sync(timeout=DEADLINE)

    def test_progress_of_somebody_else_is_no_error(self) -> None:
        from oxherd.django.tasks.failures import from_progress

        good = {"fence": 1, "path": "builtins.ValueError", "traceback": "x"}
        for progress in (None, 3, [], {"errors": 3}, {"errors": [3, {}, {**good, "fence": "1"}, {**good, "more": 1}]}):
            self.assertEqual(from_progress(progress), [])
        self.assertEqual(len(from_progress({"errors": [good, 3]})), 1)


class InTests(SimpleTestCase):
    def test_inline_runs_a_task_where_it_is_enqueued(self) -> None:
        for task in (tasks.fail, tasks.fail_later):
            with inline(herd), self.assertRaisesMessage(ValueError, "here"):
                task.enqueue("here")
        with inline(herd):
            result = tasks.about.enqueue("status")
        self.assertEqual([status for _, status, _ in signals(result)], ["READY", "RUNNING", "SUCCESSFUL"])

    async def test_inline_runs_a_task_in_an_event_loop_as_well(self) -> None:
        for task in (tasks.fail, tasks.fail_later):
            with inline(herd), self.assertRaisesMessage(ValueError, "here"):
                await task.aenqueue("here")

    def test_captured_keeps_what_was_enqueued(self) -> None:
        with captured(herd) as emits:
            result = tasks.add.enqueue(1, 2)
            with self.assertRaisesMessage(UsageError, "use a real server"):
                result.refresh()
        emits.assert_emitted(task_backends["default"].events["default"], task="shop.tasks.add", args=[1, 2])

"""What enqueues a task, without a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import skipIf
from uuid import UUID, uuid4

import django
from django.test import SimpleTestCase, override_settings
from shop import tasks
from shop.tasks import task as shop_task

from cases.support import event_of, signals
from oxherd import InvalidPayload, PayloadTooLarge, Retry, UsageError
from oxherd.django import TaskBackend, herd
from oxherd.django.tasks.interface import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
)


def story(result: Any) -> Any:
    """What oxherd shows of a task."""
    return herd.run_sync(herd.admin.show(UUID(result.id)))


class Enqueue(SimpleTestCase):
    def test_the_backend_can_do_all_that_django_knows_of(self) -> None:
        backend = task_backends["default"]
        self.assertIsInstance(backend, TaskBackend)
        flags = ("supports_defer", "supports_async_task", "supports_get_result", "supports_priority")
        self.assertEqual([getattr(backend, flag) for flag in flags], [True] * 4)

    def test_a_new_result_is_ready_and_is_read_back_the_same(self) -> None:
        for task in (tasks.echo, tasks.add_later, tasks.echo.using(queue_name="mail", priority=-7)):
            result: Any = task.enqueue(1, two=[{"three": None}])
            self.assertEqual(result.status, TaskResultStatus.READY)
            self.assertFalse(result.is_finished)
            self.assertEqual((result.args, result.kwargs), ([1], {"two": [{"three": None}]}))
            self.assertEqual((result.attempts, result.errors, result.started_at), (0, [], None))
            self.assertLess(datetime.now(UTC) - result.enqueued_at, timedelta(seconds=30))
            self.assertEqual(task.get_result(result.id), result)
            result.refresh()
            self.assertEqual(task.get_result(result.id), result)
            self.assertEqual(signals(result), [("enqueued", "READY", None)])

    async def test_the_same_in_an_event_loop(self) -> None:
        result = await tasks.add.aenqueue(1, other=2)
        self.assertEqual(await tasks.add.aget_result(result.id), result)
        await result.arefresh()
        self.assertEqual(result.status, TaskResultStatus.READY)
        self.assertEqual(signals(result), [("enqueued", "READY", None)])

    async def test_what_would_block_the_event_loop_says_what_to_await(self) -> None:
        with self.assertRaisesMessage(UsageError, "await aenqueue(...) instead"):
            tasks.add.enqueue(1, 2)
        with self.assertRaisesMessage(UsageError, "await aget_result(...) instead"):
            tasks.add.get_result(str(uuid4()))

    def test_an_unknown_id_does_not_exist(self) -> None:
        for unknown in ("123", str(uuid4()), str(uuid4()).upper(), "", "x" * 1000, 123, None, "*"):
            with self.assertRaises(TaskResultDoesNotExist):
                task_backends["default"].get_result(unknown)

    def test_a_result_of_another_task_is_a_mismatch(self) -> None:
        result = tasks.add.enqueue(1, 2)
        with self.assertRaisesMessage(Exception, "Task does not match"):
            tasks.echo.get_result(result.id)

    def test_a_result_of_another_backend_does_not_exist_here(self) -> None:
        result = tasks.mark.enqueue("x")
        with self.assertRaises(TaskResultDoesNotExist):
            task_backends["default"].get_result(result.id)

    def test_priorities_are_those_of_bullmq_the_other_way_round(self) -> None:
        for priority, stored in ((100, 1), (0, 101), (-100, 201), (1.0, 100)):
            result = tasks.add.using(priority=priority).enqueue(1, 2)
            self.assertEqual(story(result).priority, stored)

    def test_a_deferred_task_waits_for_its_moment(self) -> None:
        moment = datetime.now(UTC) + timedelta(hours=1)
        result = tasks.add.using(run_after=moment).enqueue(1, 2)
        status = event_of(result).status_sync()
        self.assertEqual(status.state, "delayed")
        self.assertLess(abs(status.due_at - moment), timedelta(seconds=1))
        self.assertEqual(tasks.add.get_result(result.id).status, TaskResultStatus.READY)
        self.assertEqual(tasks.add.get_result(result.id).task.run_after, moment)

    def test_without_use_tz_moments_are_naive(self) -> None:
        with override_settings(USE_TZ=False):
            moment = datetime.now() + timedelta(hours=1)
            result: Any = tasks.add.using(run_after=moment).enqueue(1, 2)
            self.assertIsNone(result.enqueued_at.tzinfo)
            self.assertEqual(tasks.add.get_result(result.id), result)

    def test_what_is_no_json_is_refused_and_nothing_is_sent(self) -> None:
        for args, error in (([object()], TypeError), ([b"\xff"], ValueError), ([{1: 2}], InvalidPayload)):
            with self.assertRaises(error):
                tasks.echo.enqueue(*args)
        with self.assertRaisesMessage(PayloadTooLarge, "django.tasks.one.default"):
            tasks.mark.enqueue("x" * 3_000)

    def test_a_task_that_a_worker_would_not_find_is_refused(self) -> None:
        with self.assertRaisesMessage(InvalidTask, "A worker would not find the task"):
            type(tasks.add)(func=hidden, priority=0, backend="default", queue_name="default", run_after=None).enqueue()

    def test_only_the_path_of_a_task_is_shown(self) -> None:
        result = tasks.add.enqueue("a secret", other="another")
        self.assertEqual(story(result).payload, {"task": "shop.tasks.add"})
        self.assertEqual(story(result).event, "django.tasks.default")

    def test_each_queue_of_each_backend_is_an_event(self) -> None:
        for alias in task_backends:
            task_backends[alias].declare()
        names = {event.name for event in herd}
        expected = {"default", "mail", "one.default", "patient.default", "keyed.default", "keyed.sharded"}
        self.assertLessEqual({f"django.tasks.{name}" for name in expected} | {"mortal.tasks.default"}, names)

    def test_a_task_has_as_many_attempts_as_it_says(self) -> None:
        for task, attempts in ((tasks.add, 1), (tasks.always, 3), (tasks.twice, 2)):
            result = task.enqueue(*([1, 2] if task is tasks.add else []))
            self.assertEqual(story(result).attempts_allowed, attempts)

    @skipIf((6, 0) <= django.VERSION < (6, 1), "the decorator takes no others before Django 6.1")
    def test_the_decorator_takes_what_a_task_has_beside_djangos_own(self) -> None:
        made = shop_task(retry=Retry(attempts=4))(tasks.add.func)
        self.assertEqual(story(made.enqueue(1, 2)).attempts_allowed, 4)
        self.assertEqual(shop_task(timeout=3)(tasks.add_later.func).timeout, 3)
        self.assertIsNotNone(shop_task(key=lambda customer: customer, backend="keyed")(tasks.keyless.func).key)
        with self.assertRaisesMessage(InvalidTask, "this def runs in a thread"):
            shop_task(timeout=3)(tasks.add.func)
        with self.assertRaises(TypeError):
            shop_task(retries=3)(tasks.add.func)

    def test_a_task_with_a_key_is_found_on_whichever_shard_it_is(self) -> None:
        for name in "abcdef":
            result = tasks.keyed.using(queue_name="sharded").enqueue(name)
            self.assertEqual(tasks.keyed.get_result(result.id).args, [name])


def hidden() -> None:
    """Not decorated, so that its path is that of a function."""


class Validate(SimpleTestCase):
    def refused(self, sentence: str, task: Any = tasks.add, **changes: Any) -> None:
        with self.assertRaisesMessage(InvalidTask, sentence):
            task.using(**changes)

    def test_what_django_refuses(self) -> None:
        self.refused("Queue 'letters' is not valid", queue_name="letters")
        self.refused("priority must be a whole number between -100 and 100", priority=101)
        self.refused("run_after must be an aware datetime", run_after=datetime.now())

    def test_a_retry_that_cannot_be_stored(self) -> None:
        self.refused("shop.tasks.add: retry must be a Retry(...)", retry=3)
        for retry in (Retry(on=OSError), Retry(never=OSError), Retry(max_delay=1), Retry(backoff=lambda n, e: 1)):
            self.refused("give on, never, max_delay and functions where the event is declared", retry=retry)

    def test_a_timeout_that_nothing_can_keep(self) -> None:
        self.refused("this def runs in a thread, which nothing can end", timeout=3)
        self.refused("shop.tasks.add_later: timeout", task=tasks.add_later, timeout=-1)
        self.refused("shop.tasks.add_later: timeout", task=tasks.add_later, timeout="soon")

    def test_a_key_that_nothing_goes_by(self) -> None:
        self.refused("nothing of the queue 'default' goes by a key", key=lambda *_: "x")
        self.refused("key must be a plain function", task=tasks.keyed, key="customer")
        with self.assertRaisesMessage(InvalidTask, "its key function returned a list"):
            tasks.keyed.using(key=lambda customer: [customer]).enqueue("x")


class Check(SimpleTestCase):
    def problems(self, **params: Any) -> list[str]:
        backend = TaskBackend("shop", params)
        return [str(problem.msg) for problem in backend.check()]

    def test_the_project_is_sound(self) -> None:
        for alias in task_backends:
            self.assertEqual(task_backends[alias].check(), [])

    def test_what_is_wrong_is_told_with_its_remedy(self) -> None:
        for params, sentence in (
            ({"QUEUES": []}, "QUEUES is empty; name the queues"),
            ({"QUEUES": "mail"}, "QUEUES must be a list of names"),
            ({"QUEUES": None}, "QUEUES must be a list of names"),
            ({"QUEUES": [1, None]}, "QUEUES must be a list of names"),
            ({"OPTIONS": []}, "OPTIONS must be a dictionary"),
            ({"OPTIONS": None}, "OPTIONS must be a dictionary"),
            ({"OPTIONS": {"PREFIX": 5}}, "PREFIX in OPTIONS must be a str"),
            ({"QUEUES": ["a b"]}, "'django.tasks.shop.a b' is no event name"),
            ({"OPTIONS": {"CONCURENCY": 2}}, "OPTIONS has no 'CONCURENCY'; did you mean 'CONCURRENCY'?"),
            ({"OPTIONS": {"CONCURRENCY": 0}}, "concurrency must be"),
            ({"OPTIONS": {"RETRY": 3}}, "retry must be a Retry(...)"),
            ({"OPTIONS": {"BY_QUEUE": {"mial": {}}}}, "BY_QUEUE names a queue 'mial' that QUEUES does not have"),
            ({"OPTIONS": {"BY_QUEUE": {"default": 3}}}, "BY_QUEUE['default'] must be a dictionary"),
            ({"OPTIONS": {"BY_QUEUE": []}}, "BY_QUEUE must be a dictionary"),
            ({"OPTIONS": {"BY_QUEUE": {"default": {"PREFIX": "x"}}}}, "OPTIONS has no 'PREFIX'"),
        ):
            with self.subTest(sentence):
                (problem,) = self.problems(**params)
                self.assertIn("TASKS['shop']: ", problem)
                self.assertIn(sentence, problem)

    def test_the_options_of_a_declared_queue_do_not_change(self) -> None:
        self.assertEqual(self.problems(QUEUES=["fixed"]), [])
        self.assertEqual(self.problems(QUEUES=["fixed"]), [])
        (problem,) = self.problems(QUEUES=["fixed"], OPTIONS={"CONCURRENCY": 3})
        self.assertIn("hold for the life of a process", problem)

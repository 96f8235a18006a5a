"""A backend whose server is away."""

from __future__ import annotations

from uuid import uuid4

from django.test import SimpleTestCase
from shop import tasks

from cases.support import signals
from oxherd import EmitError, RedisUnavailable
from oxherd.django.tasks.interface import TaskResultDoesNotExist


class Away(SimpleTestCase):
    def test_an_enqueue_says_so_in_time_and_tells_no_argument(self) -> None:
        with self.assertRaises(EmitError) as raised:
            tasks.add.enqueue("a-secret", other=1)
        self.assertNotIn("a-secret", str(raised.exception))

    async def test_so_it_does_in_an_event_loop(self) -> None:
        with self.assertRaises(EmitError):
            await tasks.add.aenqueue(1, 2)
        with self.assertRaises(RedisUnavailable):
            await tasks.add.aget_result(str(uuid4()))

    def test_nobody_says_that_a_result_does_not_exist(self) -> None:
        with self.assertRaises(RedisUnavailable):
            tasks.add.get_result(str(uuid4()))
        with self.assertRaises(TaskResultDoesNotExist):
            tasks.add.get_result("no id of ours")

    def test_no_signal_says_that_it_was_enqueued(self) -> None:
        with self.assertRaises(EmitError):
            tasks.add.enqueue(1, 2)
        self.assertEqual(signals(None), [])

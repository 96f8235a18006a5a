"""Tasks that are enqueued in a transaction, with EMIT_ON_COMMIT."""

from __future__ import annotations

from django.db import transaction
from django.test import TransactionTestCase
from shop import tasks

from oxherd.django.tasks.interface import TaskResultDoesNotExist, TaskResultStatus


class OnCommit(TransactionTestCase):
    available_apps = ("oxherd.django", "shop")

    def test_a_commit_enqueues_and_a_rollback_does_not(self) -> None:
        with transaction.atomic():
            kept = tasks.twice.using(priority=7).enqueue()
            with self.assertRaises(TaskResultDoesNotExist):
                tasks.twice.get_result(kept.id)
        read = tasks.twice.get_result(kept.id)
        self.assertEqual((read.id, read.enqueued_at, read.task.priority), (kept.id, kept.enqueued_at, 7))
        self.assertEqual(read.status, TaskResultStatus.READY)
        with transaction.atomic():
            lost = tasks.add.enqueue(1, 2)
            transaction.set_rollback(True)
        with self.assertRaises(TaskResultDoesNotExist):
            tasks.add.get_result(lost.id)

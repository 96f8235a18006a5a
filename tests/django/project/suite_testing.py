"""The helpers for tests."""

import asyncio

from django.db import transaction
from django.test import TestCase, TransactionTestCase
from warehouse.events import Stored, box_looked_at, box_refused, box_stored
from warehouse.models import Box

from oxherd import ResultGone, UsageError
from oxherd.django import emit_on_commit, herd
from oxherd.django.testing import captured_events, handled_events
from oxherd.testing import own_server, run_until_empty


def store(label: str) -> None:
    """What an application does."""
    with transaction.atomic():
        Box.objects.create(label=label)
        emit_on_commit(box_stored, Stored(label=label))


class InATestCase(TestCase):
    def test_what_waits_for_a_commit_is_there_after_the_block(self) -> None:
        with captured_events() as emits:
            store("a")
            emits.assert_not_emitted()
        emits.assert_emitted(box_stored, label="a")

    def test_its_handler_sees_the_tests_own_transaction(self) -> None:
        with handled_events():
            store("a")
        assert Box.objects.get().seen == 1

    def test_what_a_handler_raises_the_block_raises(self) -> None:
        with self.assertRaisesRegex(LookupError, "no box"), handled_events():
            emit_on_commit(box_refused, Stored(label="a"))

    def test_what_waits_for_a_commit_has_no_result_before(self) -> None:
        with handled_events():
            emitted = emit_on_commit(box_stored, Stored(label="a"))
            with self.assertRaisesRegex(UsageError, "waits for the commit"):
                emitted.result_sync()
        assert emitted.event == "box.stored"

    def test_a_rollback_emits_nothing(self) -> None:
        with captured_events() as emits:
            try:
                with transaction.atomic():
                    store("a")
                    raise LookupError
            except LookupError:
                pass
        emits.assert_not_emitted()


class InATransactionTestCase(TransactionTestCase):
    def test_a_result_is_there_after_the_emit(self) -> None:
        Box.objects.create(label="a")
        with handled_events():
            assert emit_on_commit(box_stored, Stored(label="a")).result_sync() == 1


class WithAServer(TransactionTestCase):
    def test_what_waits_for_a_commit_is_not_stored_before(self) -> None:
        Box.objects.create(label="a")
        with own_server(), transaction.atomic():
            emitted = emit_on_commit(box_stored, Stored(label="a"))
            assert emitted.status_sync() is None
            with self.assertRaises(ResultGone):
                emitted.result_sync(timeout=5)
            transaction.set_rollback(True)

    async def test_events_are_processed_by_a_worker_in_the_test(self) -> None:
        await asyncio.to_thread(Box.objects.create, label="a")
        with own_server():
            async with herd:
                await asyncio.to_thread(emit_on_commit, box_stored, Stored(label="a"))
                looked = await box_looked_at.emit(Stored(label="a"))
                ended = await run_until_empty(herd, timeout=20)
                thread, connection, *again = await looked.result(5)
        assert sorted(run.outcome for run in ended) == ["completed", "completed"]
        assert again == [thread, connection]
        assert (await Box.objects.aget()).seen == 1

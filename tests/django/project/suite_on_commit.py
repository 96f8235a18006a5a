"""What waits for a commit, in real transactions."""

import os
import unittest
from collections.abc import Callable
from uuid import UUID

from django.db import transaction
from django.test import TransactionTestCase
from warehouse.events import Stored, box_once, box_stored
from warehouse.models import Box

from oxherd import Emitted, InvalidPayload, Oxherd, UsageError
from oxherd.django import emit_many_on_commit, emit_on_commit, herd
from oxherd.testing import captured, own_server

EMITS_ON_COMMIT = os.environ.get("SUITE_EMIT_ON_COMMIT") == "1"
ID = UUID("01a22a2f-3748-77d5-8f70-c715399a032e")


def raise_in(block: Callable[[], object]) -> None:
    """Call a function in a transaction, and roll that back."""
    try:
        with transaction.atomic():
            block()
            raise LookupError
    except LookupError:
        pass


async def ids_of_what_waits() -> list[UUID]:
    """What is stored."""
    return [row.id async for row in herd.admin.find(box_stored.name, state="waiting")]


class OnCommit(TransactionTestCase):
    def test_a_commit_emits_once_and_a_rollback_nothing(self) -> None:
        with captured(herd) as emits:
            with transaction.atomic():
                emitted = emit_on_commit(box_stored, Stored(label="a"), priority=3)
                emits.assert_not_emitted()
            emit = emits.assert_emitted(box_stored, label="a")
            assert (emit.id, emit.priority) == (emitted.id, 3)
            raise_in(lambda: emit_on_commit(box_stored, Stored(label="b")))
            assert len(emits.emits) == 1

    def test_the_rollback_of_a_nested_savepoint_is_heeded(self) -> None:
        with captured(herd) as emits:
            with transaction.atomic():
                emit_on_commit(box_stored, Stored(label="outer"))
                raise_in(lambda: emit_on_commit(box_stored, Stored(label="rolled back")))
                with transaction.atomic():
                    emit_on_commit(box_stored, Stored(label="kept"))
            assert [box.label for box in emits.of(box_stored)] == ["outer", "kept"]

    def test_the_payload_is_checked_at_the_call_and_sent_as_it_was(self) -> None:
        with captured(herd) as emits, transaction.atomic():
            box = Stored(label="then")
            emit_on_commit(box_stored, box, id=ID)
            box.label = "now"
            with self.assertRaisesRegex(InvalidPayload, "label"):
                emit_on_commit(box_stored, {"label": 7})  # type: ignore[arg-type]
            with self.assertRaisesRegex(UsageError, "prioriti"):
                emit_on_commit(box_stored, box, prioriti=1)  # type: ignore[call-arg]
            with self.assertRaisesRegex(UsageError, "uuid"):
                emit_on_commit(box_stored, box, id="7")  # type: ignore[arg-type]
        assert [(emit.id, emit.payload.label) for emit in emits.emits] == [(ID, "then")]

    def test_it_waits_for_the_database_that_is_named(self) -> None:
        with captured(herd) as emits, transaction.atomic():
            with transaction.atomic(using="other"):
                emit_on_commit(box_stored, Stored(label="other"), using="other")
                emits.assert_not_emitted()
            emits.assert_emitted(box_stored, label="other")

    databases = {"default", "other"}

    def test_without_a_transaction_it_is_sent_at_once(self) -> None:
        with captured(herd) as emits:
            emitted = emit_on_commit(box_stored, Stored(label="now"))
            assert emits.assert_emitted(box_stored, label="now").id == emitted.id

    def test_many_keep_their_order_and_their_ids(self) -> None:
        boxes = [Stored(label=str(number)) for number in range(1200)]
        with own_server():
            with transaction.atomic():
                emitted = emit_many_on_commit(box_stored, boxes)
            assert [each.status_sync() is not None for each in (emitted[0], emitted[-1])] == [True, True]
            waiting = herd.run_sync(ids_of_what_waits())
            assert sorted(waiting) == sorted(each.id for each in emitted)
        with captured(herd) as emits:
            with transaction.atomic():
                emitted = emit_many_on_commit(box_stored, boxes)
            assert [emit.id for emit in emits.emits] == [each.id for each in emitted]
            assert emits.of(box_stored) == boxes

    def test_an_error_of_redis_after_the_commit_reaches_the_caller_or_the_log(self) -> None:
        away = Oxherd("redis://127.0.0.1:1/0", emit_timeout=0.2)
        event = away.declare("box.lost", Stored)
        with self.assertRaisesRegex(Exception, "box.lost"), transaction.atomic():
            Box.objects.create(label="committed")
            emit_on_commit(event, Stored(label="x"))
        assert Box.objects.filter(label="committed").exists()
        with self.assertLogs("django.db.backends.base", "ERROR") as logs, transaction.atomic():
            emit_on_commit(event, Stored(label="private text"), robust=True)
        assert "private text" not in "".join(logs.output)
        away.close_sync()

    def test_a_unique_event_has_its_first_id(self) -> None:
        with own_server():
            with transaction.atomic():
                first, second = [emit_on_commit(box_once, Stored(label="a")) for _ in range(2)]
            assert first.status_sync() is not None
            assert second.status_sync() is None


class EmitSync(TransactionTestCase):
    def emit(self, label: str) -> Emitted[int]:
        return box_stored.emit_sync(Stored(label=label))

    @unittest.skipUnless(EMITS_ON_COMMIT, "with the setting")
    def test_with_the_setting_it_waits_for_the_commit(self) -> None:
        with captured(herd) as emits:
            with transaction.atomic():
                emitted = self.emit("a")
                many = box_stored.emit_many_sync([Stored(label="b"), Stored(label="c")])
                raise_in(lambda: self.emit("rolled back"))
                emits.assert_not_emitted()
            assert [emit.id for emit in emits.emits] == [emitted.id, *(each.id for each in many)]
            self.emit("d")
            assert [box.label for box in emits.of(box_stored)] == ["a", "b", "c", "d"]

    @unittest.skipIf(EMITS_ON_COMMIT, "without the setting")
    def test_without_the_setting_it_does_not(self) -> None:
        with captured(herd) as emits, transaction.atomic():
            self.emit("a")
            emits.assert_emitted(box_stored, label="a")

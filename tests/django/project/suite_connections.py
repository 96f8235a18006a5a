"""What becomes of the connections of handlers' threads."""

import asyncio
import threading
from typing import Any

from django.db import connection, connections
from django.test import TransactionTestCase
from warehouse.events import Stored, blocked, box_blocked, box_looked_at, box_stored, box_weighed

from oxherd import EventFailed, Oxherd
from oxherd.django import herd
from oxherd.django.connections import clean_connections, close_idle_connections, close_thread_of_run
from oxherd.testing import own_server


class Connections(TransactionTestCase):
    databases = {"default", "other"}

    def test_one_that_does_not_work_is_replaced_before_the_run(self) -> None:
        def thread() -> None:
            connection.ensure_connection()
            broken = connection.connection
            broken.close()
            connection.is_usable = lambda: broken is not connection.connection  # type: ignore[method-assign]
            clean_connections(None, lambda _: seen.append(connection.cursor().execute("select 1").fetchone()))  # type: ignore[arg-type]

        seen: list[Any] = []
        run_in_thread(thread)
        assert seen == [(1,)]

    def test_connections_are_closed_after_the_run_by_djangos_rules(self) -> None:
        opened: list[Any] = []

        def handler(_: object) -> None:
            for alias in ("default", "other"):
                connections[alias].ensure_connection()
                connections[alias].close_at = None if alias == "other" else 0.0
                opened.append(connections[alias])

        def thread() -> None:
            clean_connections(None, handler)  # type: ignore[arg-type]
            assert [each.connection is None for each in opened] == [True, False]
            connections.close_all()

        run_in_thread(thread)
        assert len(opened) == 2

    def test_the_query_log_starts_anew_with_each_run(self) -> None:
        def thread() -> None:
            connection.force_debug_cursor = True
            connection.cursor().execute("select 1")
            assert connection.queries_log
            clean_connections(None, lambda _: seen.append(len(connection.queries_log)))  # type: ignore[arg-type]
            connections.close_all()

        seen: list[int] = []
        run_in_thread(thread)
        assert seen == [0]

    async def test_a_run_without_sync_code_makes_no_thread(self) -> None:
        before = threading.active_count()
        seen: list[int] = []

        async def handler(_: object) -> None:
            seen.append(threading.active_count())

        await close_thread_of_run(None, handler)  # type: ignore[arg-type]
        assert seen == [before]
        assert threading.active_count() == before

    def test_each_run_of_an_async_handler_has_a_thread_and_a_connection_of_its_own(self) -> None:
        async def work() -> list[list[int]]:
            async with herd:
                await herd.start()
                runs = [await box_looked_at.emit(Stored(label="a")) for _ in range(8)]
                assert await (await box_weighed.emit(Stored(label="abc"))).result(10) == 3
                return [await run.result(10) for run in runs]

        found: list[list[int]] = []
        with own_server():
            # In an async test of Django's, sync code runs in the test's own thread.
            run_in_thread(lambda: found.extend(asyncio.run(work())))
        assert len(found) == 8
        for thread, opened, *again in found:
            assert again == [thread, opened]
            assert thread != threading.get_ident()

    def test_a_run_that_times_out_in_sync_code_does_not_block_the_loop(self) -> None:
        turns: list[str] = []

        async def work() -> None:
            async with herd:
                await herd.start()
                emitted = await box_blocked.emit(Stored(label="a"))
                await asyncio.to_thread(blocked.began.wait, 20)
                asyncio.get_running_loop().call_later(0.4, turns.append, "while it blocks")
                # Long after the timeout.
                asyncio.get_running_loop().call_later(0.5, blocked.may_end.set)
                with self.assertRaisesRegex(EventFailed, "timed out"):
                    await emitted.result(20)

        with own_server():
            run_in_thread(lambda: asyncio.run(work()))
        assert turns == ["while it blocks"]
        assert blocked.ended_by_itself

    async def test_what_threads_keep_open_is_closed_when_the_worker_stops(self) -> None:
        kept: list[Any] = []
        own = Oxherd(prefix="kept")
        own.worker_lifespan(close_idle_connections)
        own.sync_middleware(clean_connections)

        @own.event("kept.open")
        def keep_open(_: int) -> None:
            connection.ensure_connection()
            connection.close_at = None
            kept.append(connection.connection)
            kept.append(connections["default"])

        with own_server():
            async with own:
                await own.start()
                await (await keep_open.emit(1)).result(10)
                assert kept[1].connection is not None
        assert kept[1].connection is None

    async def test_a_def_handler_works_on_a_thread_whose_connection_has_closed(self) -> None:
        with own_server():
            async with herd:
                await herd.start()
                for _ in range(6):  # more than it has threads
                    assert await (await box_stored.emit(Stored(label="none"))).result(10) == 0
                    await asyncio.to_thread(connections.close_all)


def run_in_thread(function: Any) -> None:
    """Run a function in a thread of its own; raises what it raises."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]

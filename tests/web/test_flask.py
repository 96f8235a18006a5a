"""Handlers in the context of a Flask application: in their thread, process or event loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from flask import Flask, current_app, g, has_app_context

from oxherd import DeclarationError, Depends, EventFailed, Oxherd, Retry, UsageError
from oxherd.flask import init_app
from oxherd.testing import captured, inline
from tests.harness import WorkerProcess, cli, until_sync

ONCE = Retry(attempts=1)


class Application:
    """A Flask application, and the teardowns that it had: in which thread, of which order, after which error."""

    def __init__(self, herd: Oxherd, name: str = "shop") -> None:
        self.flask = Flask(name)
        self.teardowns: list[tuple[threading.Thread, Any, str]] = []
        self.flask.teardown_appcontext(self._teardown)
        init_app(herd, self.flask)

    def _teardown(self, error: BaseException | None) -> None:
        self.teardowns.append((threading.current_thread(), g.get("order"), type(error).__name__))


async def test_a_def_handler_has_a_context_of_its_own_in_its_thread_which_is_torn_down_there(
    local_herd: Oxherd,
) -> None:
    app = Application(local_herd)
    threads: list[threading.Thread] = []

    def dependency() -> Iterator[str]:
        yield current_app.name
        assert current_app.name == "shop"

    @local_herd.event("order.placed", retry=ONCE)
    def placed(number: int, name: Annotated[str, Depends(dependency)]) -> str:
        assert "order" not in g
        g.order = number
        threads.append(threading.current_thread())
        if number < 0:
            raise ValueError("no such order")
        return name

    async with local_herd:
        await local_herd.start()
        assert await (await placed.emit(1)).result(timeout=20) == "shop"
        assert app.teardowns == [(threads[0], 1, "NoneType")]
        assert threads[0] is not threading.current_thread()
        with pytest.raises(EventFailed):
            await (await placed.emit(-1)).result(timeout=20)
        assert app.teardowns[1:] == [(threads[1], -1, "ValueError")]
    assert not has_app_context()


async def test_an_async_handler_has_it_in_the_event_loop(local_herd: Oxherd) -> None:
    app = Application(local_herd)

    @local_herd.event("order.placed", retry=ONCE)
    async def placed(number: int) -> str:
        assert "order" not in g
        g.order = number
        return current_app.name

    async with local_herd:
        await local_herd.start()
        emitted = await placed.emit_many([*range(5)])
        assert [await each.result(timeout=20) for each in emitted] == ["shop"] * 5
    assert sorted(order for _, order, _ in app.teardowns) == [*range(5)]
    assert {thread for thread, _, _ in app.teardowns} == {threading.current_thread()}


async def test_a_teardown_that_fails_fails_the_run(local_herd: Oxherd) -> None:
    app = Flask("shop")

    @app.teardown_appcontext
    def broken(_: BaseException | None) -> None:
        raise OSError("the session is lost")

    init_app(local_herd, app)

    @local_herd.event("order.placed", retry=ONCE)
    def placed(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed) as failed:
            await (await placed.emit(1)).result(timeout=20)
    assert failed.value.error_type == "OSError"


async def test_of_several_applications_the_last_counts_and_each_run_has_one_context(local_herd: Oxherd) -> None:
    first, second = Application(local_herd, "first"), Application(local_herd, "second")
    assert first.flask.extensions["oxherd"] is second.flask.extensions["oxherd"] is local_herd

    @local_herd.event("order.placed", retry=ONCE)
    def placed(number: int) -> str:
        return current_app.name

    async with local_herd:
        await local_herd.start()
        assert await (await placed.emit(1)).result(timeout=20) == "second"
    assert (len(first.teardowns), len(second.teardowns)) == (0, 1)


def test_a_view_emits_and_a_test_sees_it_without_a_server() -> None:
    herd = Oxherd()
    app = Application(herd).flask

    @herd.event("order.placed")
    def placed(number: int) -> str:
        return current_app.name

    @app.post("/orders")
    def place() -> str:  # pyright: ignore[reportUnusedFunction]
        return str(placed.emit_sync(7).id)

    with captured(herd) as emits:
        answer = app.test_client().post("/orders")
    assert answer.text == str(emits.assert_emitted(placed, 7).id)
    with inline(herd):  # in the request's own context
        assert app.test_client().post("/orders").status_code == 200
    with app.app_context():
        assert placed.call(1) == "shop"


def test_an_async_view_awaits_its_emit_and_leaves_no_connection_behind(local_herd: Oxherd, standalone: str) -> None:
    app = Application(local_herd).flask
    placed = local_herd.declare("order.placed", int)

    @app.post("/orders")
    async def place() -> str:  # pyright: ignore[reportUnusedFunction]
        with pytest.raises(UsageError, match="await emit"):
            placed.emit_sync(7)
        return str((await placed.emit(7)).id)

    def connections() -> int:
        async def listed() -> int:
            return len((await (await watching.backend()).client.call(0, "CLIENT", "LIST")).splitlines())

        return watching.run_sync(listed())

    watching = Oxherd(standalone)
    before = connections()
    for _ in range(3):
        assert app.test_client().post("/orders").status_code == 200
    until_sync(lambda: connections() <= before)
    watching.close_sync()


def test_wrong_arguments_are_refused_each_in_a_sentence(local_herd: Oxherd) -> None:
    app: Any = Flask("shop")
    with pytest.raises(DeclarationError, match=r"init_app\(herd, app\)"):
        init_app(app, app)
    for wrong in ("shop", lambda: app):
        with pytest.raises(DeclarationError, match="call it where the application is made"):
            init_app(local_herd, wrong)  # pyright: ignore[reportArgumentType]


APP = """
import os, threading
from pathlib import Path
from flask import Flask, current_app
from oxherd import Oxherd
from oxherd.flask import init_app

herd = Oxherd()
app = Flask("shop")
init_app(herd, app)

@app.teardown_appcontext
def teardown(_):
    Path("teardown").write_text(str(os.getpid()))

@herd.event("order.placed", run_in="process")
def placed(number: int) -> None:
    Path("ran").write_text(f"{os.getpid()} {current_app.name}")
"""


@pytest.mark.slow
def test_a_handler_in_a_process_has_it_there(
    tmp_path: Path, start_worker: Callable[..., WorkerProcess], standalone: str
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("Oxherd()", f"Oxherd(prefix={tmp_path.name!r})"))
    worker = start_worker(url=standalone)
    assert cli(tmp_path, "emit", "app:herd", "order.placed", "7", url=standalone).returncode == 0
    worker.wait("event.end", outcome="completed")
    assert worker.stop() == 0
    ran, name = (tmp_path / "ran").read_text().split()
    assert (name, ran) == ("shop", (tmp_path / "teardown").read_text())
    assert json.loads(ran) != worker.process.pid

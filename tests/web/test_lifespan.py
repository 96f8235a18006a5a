"""The lifespan of a Starlette or FastAPI application: connections, and a worker for development."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

import oxherd.fastapi
import oxherd.starlette
from oxherd import DeclarationError, LifespanError, Oxherd, Retry
from oxherd.fastapi import lifespan
from oxherd.testing import captured
from tests.harness import until

ONCE = Retry(attempts=1)


@asynccontextmanager
async def running(app: Any) -> AsyncGenerator[Any]:
    async with app.router.lifespan_context(app) as state:
        yield state


async def clients(herd: Oxherd) -> int:
    listed = await (await herd.backend()).client.call(0, "CLIENT", "LIST")
    return bytes(listed).count(b"\n")


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_the_connections_are_open_while_the_application_runs_and_nothing_is_processed(
    local_herd: Oxherd, standalone: str, kind: Any
) -> None:
    @local_herd.event("order.placed")
    async def placed(number: int) -> None: ...

    app = kind(lifespan=lifespan(local_herd))
    async with Oxherd(standalone) as watching:
        before = await clients(watching)
        async with running(app):
            assert await clients(watching) > before
            emitted = await placed.emit(1)
            assert local_herd.processing == []
            status = await emitted.status()
            assert status is not None
            assert status.state == "waiting"

        async def closed() -> bool:
            return await clients(watching) == before

        await until(closed)


async def test_a_worker_in_the_same_process_lets_what_runs_end(local_herd: Oxherd) -> None:
    began, finish, done = asyncio.Event(), asyncio.Event(), list[int]()

    @local_herd.event("order.placed", retry=ONCE)
    async def placed(number: int) -> None:
        began.set()
        await finish.wait()
        done.append(number)

    async with running(FastAPI(lifespan=lifespan(local_herd, worker=True))):
        assert local_herd.processing == ["order.placed"]
        await placed.emit(1)
        await began.wait()
        asyncio.get_running_loop().call_later(0.1, finish.set)
    assert done == [1]
    assert local_herd.processing == []


async def test_what_does_not_end_within_the_stop_timeout_is_put_back(standalone: str, prefix: str) -> None:
    herd = Oxherd(standalone, prefix=prefix, stop_timeout=0.2)
    began = asyncio.Event()

    @herd.event("order.placed", retry=ONCE)
    async def placed(number: int) -> None:
        began.set()
        await asyncio.Event().wait()

    async with running(FastAPI(lifespan=lifespan(herd, worker=True))):
        emitted = await placed.emit(1)
        await began.wait()
    status = await emitted.status()
    assert status is not None
    assert (status.state, status.attempt) == ("waiting", 1)
    await herd.close()


async def test_the_applications_own_lifespan_runs_inside_and_its_state_is_passed_on(local_herd: Oxherd) -> None:
    order: list[str] = []

    @local_herd.worker_lifespan
    async def of_worker(_: Oxherd) -> AsyncGenerator[None]:
        order.append("worker opens")
        yield
        order.append("worker closes")

    @local_herd.event("order.placed")
    async def placed(number: int) -> None: ...

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[dict[str, str]]:
        assert isinstance(app, FastAPI)
        await placed.emit(1)
        order.append("own opens")
        yield {"pool": "open"}
        await placed.emit(2)
        order.append("own closes")

    async with running(FastAPI(lifespan=lifespan(local_herd, worker=True, then=own))) as state:
        assert state == {"pool": "open"}
        order.append("runs")
    assert order == ["own opens", "worker opens", "runs", "worker closes", "own closes"]


async def test_a_lifespan_that_fails_closes_what_is_open(local_herd: Oxherd) -> None:
    @local_herd.worker_lifespan
    async def broken(_: Oxherd) -> AsyncGenerator[None]:
        raise OSError("secret")
        yield

    @local_herd.event("order.placed")
    async def placed(number: int) -> None: ...

    closed: list[str] = []

    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            closed.append("own")

    with pytest.raises(LifespanError):
        async with running(FastAPI(lifespan=lifespan(local_herd, worker=True, then=own))):
            pass
    assert closed == ["own"]
    assert local_herd.processing == []


async def test_while_a_test_keeps_the_emits_nothing_is_connected_to_nor_processed() -> None:
    herd = Oxherd("redis://127.0.0.1:1")

    @herd.event("order.placed")
    async def placed(number: int) -> None: ...

    with captured(herd) as emits:
        async with running(FastAPI(lifespan=lifespan(herd, worker=True))):
            await placed.emit(7)
            assert herd.processing == []
    emits.assert_emitted(placed, 7)
    assert herd.nodes() == {}


async def test_a_server_that_is_away_keeps_no_application_from_starting() -> None:
    herd = Oxherd("redis://127.0.0.1:1", stop_timeout=0)

    @herd.event("order.placed")
    async def placed(number: int) -> None: ...

    async with running(FastAPI(lifespan=lifespan(herd, worker=True))):
        assert herd.processing == ["order.placed"]


async def not_decorated(_: FastAPI) -> AsyncGenerator[None]:
    yield


async def test_wrong_arguments_are_refused_each_in_a_sentence(local_herd: Oxherd) -> None:
    with pytest.raises(DeclarationError, match=r"FastAPI\(lifespan=lifespan\(herd\)\)"):
        async with running(FastAPI(lifespan=lifespan)):  # pyright: ignore[reportArgumentType]
            pass
    with pytest.raises(DeclarationError, match="decorate it with @asynccontextmanager"):
        lifespan(local_herd, then=not_decorated)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match="worker"):
        lifespan(local_herd, worker="1")  # pyright: ignore[reportArgumentType]


LACKING = """
import sys
from oxherd import Oxherd
print({"fastapi", "starlette", "flask"} & set(sys.modules))
for module in ("fastapi", "starlette", "flask"):
    sys.modules[module] = None
    try:
        __import__(f"oxherd.{module}")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_the_core_imports_no_framework_and_a_module_that_lacks_its_own_says_what_to_install() -> None:
    ran = subprocess.run([sys.executable, "-c", LACKING], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "set()",
        "ConfigError FastAPI is not installed; install oxherd[fastapi].",
        "ConfigError Starlette is not installed; install oxherd[sse].",
        "ConfigError Flask is not installed; install oxherd[flask].",
    ]


def test_fastapi_has_the_lifespan_of_starlette() -> None:
    assert oxherd.fastapi.lifespan is oxherd.starlette.lifespan

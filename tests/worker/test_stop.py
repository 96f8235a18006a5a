"""A stop in a process that goes on, and at the end of one that is the worker's own, where a handler does not end."""

from __future__ import annotations

import asyncio
import importlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from oxherd import Context, Event, Oxherd, OxherdError, StopReport
from oxherd.servers.standalone import StandaloneServer
from tests.harness import DEADLINE, Records, environment, until, until_sync


class Stuck:
    """A handler whose first run goes on, whatever it is told, until it may end; the next ones end at once."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.refused = ""
        self._go = threading.Event()
        self.ended = threading.Event()

    def in_thread(self, _: int, ctx: Context) -> None:
        self.runs.append(ctx.fence)
        if ctx.fence == 1:
            self._go.wait()
            try:
                ctx.progress_sync(1)
            except OxherdError as error:
                self.refused = str(error)
            self.ended.set()

    async def in_loop(self, _: int, ctx: Context) -> None:
        self.runs.append(ctx.fence)
        while ctx.fence == 1 and not self._go.is_set():
            try:
                await asyncio.to_thread(self._go.wait)
            except asyncio.CancelledError:
                continue
        if ctx.fence == 1:
            try:
                await ctx.progress(1)
            except OxherdError as error:
                self.refused = str(error)
            self.ended.set()

    async def end(self) -> None:
        """Let the first run end."""
        self._go.set()
        assert await asyncio.to_thread(self.ended.wait, DEADLINE)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    handler = Stuck()
    yield handler
    handler._go.set()  # pyright: ignore[reportPrivateUsage] - a test that has failed must not leave its thread


@asynccontextmanager
async def web_application(event: Event[int, None]) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a web server in this very loop, which emits an event, and stops its processing."""

    async def emit(_: Request) -> Response:
        return PlainTextResponse(str((await event.emit(1)).id))

    async def stop(_: Request) -> Response:
        report = await event.stop(timeout=0.1)
        return JSONResponse({"stuck": list(map(str, report.stuck)), "requeued": list(map(str, report.requeued))})

    async def alive(_: Request) -> Response:
        return PlainTextResponse("alive")

    routes = [Route("/emit", emit), Route("/stop", stop), Route("/alive", alive)]
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=address, timeout=DEADLINE, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


async def test_a_web_server_answers_while_and_after_an_event_is_stopped_whose_thread_does_not_end(
    local_herd: Oxherd, records: Records, stuck: Stuck
) -> None:
    event: Event[int, None] = local_herd.event("order.placed")(stuck.in_thread)
    async with local_herd, web_application(event) as client:
        event_id = (await client.get("/emit")).text
        await event.start()
        await records.wait("event.begin", event_id=event_id)
        stopping = asyncio.create_task(client.get("/stop"))
        while not stopping.done():
            assert (await client.get("/alive")).text == "alive"
        assert (await stopping).json() == {"stuck": [event_id], "requeued": [event_id]}
        (stop,) = records.named("worker.stop")
        assert vars(stop)["stuck_ids"] == [event_id]
        assert (await client.get("/alive")).text == "alive"


@pytest.mark.parametrize("where", ["thread", "loop"])
async def test_a_handler_that_could_not_be_ended_is_run_again_and_what_becomes_of_it_is_not_recorded(
    where: str, local_herd: Oxherd, records: Records, stuck: Stuck
) -> None:
    handler = stuck.in_thread if where == "thread" else stuck.in_loop
    event: Event[int, None] = local_herd.event("order.placed", concurrency=1)(handler)  # pyright: ignore
    async with local_herd:
        first = await event.emit(1)
        await local_herd.start()
        await records.wait("event.begin", event_id=first.id)
        report = await local_herd.stop(timeout=0.1)
        assert report.stuck == report.requeued == report.cancelled == [first.id]
        assert (report.drained, report.left_behind) == ([], 0)
        assert await local_herd.stop() == StopReport()

        # The old run goes on, and takes nothing from the new one, nor from what comes after.
        await local_herd.start()
        await records.wait("event.end", event_id=first.id, outcome="completed")
        await stuck.end()
        assert stuck.refused.startswith("The progress is not stored: the event was put back")
        second = await event.emit(2)
        await records.wait("event.end", event_id=second.id)
        assert (await local_herd.stop()).stuck == []
    ends = [(vars(end)["fence"], vars(end)["outcome"]) for end in records.named("event.end", event_id=first.id)]
    assert ends == [(1, "requeued"), (2, "completed")]
    assert stuck.runs == [1, 2, 1]
    assert not [record for record in records.all if record.levelname in ("WARNING", "ERROR")]


async def test_on_a_shared_queue_a_handler_that_could_not_be_ended_keeps_no_slot_and_no_later_stop_waits_for_it(
    local_herd: Oxherd, records: Records, stuck: Stuck
) -> None:
    event: Event[int, None] = local_herd.event("order.placed", queue="orders", concurrency=1)(stuck.in_thread)

    @local_herd.event("order.billed", queue="orders", concurrency=1)
    async def order_billed(_: int) -> None: ...

    async with local_herd:
        placed = await event.emit(1)
        await local_herd.start()
        await records.wait("event.begin", event_id=placed.id)
        assert (await event.stop(timeout=0.1)).stuck == [placed.id]
        billed = await order_billed.emit(1)
        await records.wait("event.end", event_id=billed.id, outcome="completed")
        await event.start()
        await records.wait("event.end", event_id=placed.id, outcome="completed")
        async with asyncio.timeout(DEADLINE):
            report = await local_herd.stop(timeout=10 * DEADLINE)
        assert report.stuck == []
        await stuck.end()


def test_a_thread_that_does_not_end_keeps_no_loop_of_its_host_from_closing(
    local_herd: Oxherd, records: Records, stuck: Stuck
) -> None:
    event: Event[int, None] = local_herd.event("order.placed")(stuck.in_thread)

    async def serve() -> None:
        async with local_herd:
            await event.emit(1)
            await event.start()
            await records.wait("event.begin")
            assert len((await event.stop(timeout=0.1)).stuck) == 1

    asyncio.run(serve())
    asyncio.run(stuck.end())
    assert stuck.refused.startswith("The progress is not stored: the event was put back")
    assert not [record for record in records.all if record.levelname in ("WARNING", "ERROR")]


APP = """
import asyncio, atexit, os, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX, stop_timeout=0.1)
pool = ThreadPoolExecutor(1)
never = threading.Event()
atexit.register(Path("exited").touch)

@herd.event("stuck")
def stuck(_: int) -> None:
    Path("begun").touch()
    never.wait()

@herd.event("process", run_in="process")
def process(_: int) -> None:
    Path("begun").touch()
    time.sleep(600)

@herd.event("thread")
def thread(_: int) -> None:
    threading.Thread(target=never.wait).start()
    Path("begun").touch()

@herd.event("to.thread")
async def to_thread(_: int) -> None:
    Path("begun").touch()
    await asyncio.to_thread(never.wait)

@herd.event("pool")
def in_pool(_: int) -> None:
    pool.submit(never.wait)
    Path("begun").touch()

@herd.event("idle")
async def idle(_: int) -> None:
    await asyncio.to_thread(pool.submit(int).result)
    Path("begun").touch()

def own() -> None:
    while not Path("go").exists():
        time.sleep(0.01)
    time.sleep(3)
    Path("own").touch()

if "OWN" in os.environ:
    threading.Thread(target=own).start()
if __name__ == "__main__":
    herd.run()
    Path("after").touch()
"""

COMMANDS = {"oxherd worker": ["-m", "oxherd", "worker", "app:herd"], "herd.run": ["app.py"]}


class Program:
    """A process that works, in a folder of its own."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._herds: list[Oxherd] = []
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: str, url: str, event: str, **extra: str) -> None:
        """Start it, and wait until it handles the event."""
        (self._folder / "app.py").write_text(APP.replace("PREFIX", repr(self._prefix)))
        herd = Oxherd(url, prefix=self._prefix)
        herd.declare(event, int).emit_sync(1)
        herd.close_sync()
        self._process = subprocess.Popen(
            [sys.executable, *COMMANDS[command]], cwd=self._folder, env=environment(OXHERD_URL=url, **extra)
        )
        until_sync(lambda: self.has("begun"))

    def has(self, name: str) -> bool:
        """Whether the program has come to where it makes that file."""
        return (self._folder / name).exists()

    def touch(self, name: str) -> None:
        """Make a file that the program waits for."""
        (self._folder / name).touch()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.terminate()
        return self.exit()

    def terminate(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def exit(self) -> int:
        """Wait for the end; the exit status."""
        assert self._process is not None
        return self._process.wait(DEADLINE)

    def close(self) -> None:
        """End it for certain."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def program(tmp_path: Path, prefix: str) -> Iterator[Program]:
    program = Program(tmp_path, prefix)
    yield program
    program.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_where_a_handler_cannot_be_ended_its_process_ends_at_once(
    command: str, standalone: str, program: Program
) -> None:
    program.start(command, standalone, "stuck")
    assert program.stop() == 0
    assert not program.has("exited")
    assert not program.has("after")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_status_is_1_where_the_event_of_a_handler_that_cannot_be_ended_is_stranded(
    command: str, program: Program
) -> None:
    with StandaloneServer() as server:
        program.start(command, server.url, "stuck")
        server.terminate()
        assert program.stop() == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("event", ["thread", "to.thread", "pool"])
def test_a_thread_that_does_not_end_keeps_no_worker_process_alive(
    event: str, command: str, standalone: str, program: Program
) -> None:
    program.start(command, standalone, event)
    assert program.stop() == 0
    assert program.has("after") == (command == "herd.run")
    assert not program.has("exited")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("event", ["idle", "process"])
def test_where_only_idle_threads_and_killed_processes_are_left_python_exits_as_ever(
    event: str, command: str, standalone: str, program: Program
) -> None:
    program.start(command, standalone, event)
    assert program.stop() == 0
    assert program.has("exited")


def test_a_thread_that_a_module_has_started_keeps_no_worker_alive(standalone: str, program: Program) -> None:
    program.start("oxherd worker", standalone, "idle", OWN="1")
    assert program.stop() == 0
    assert not program.has("own")


def test_the_threads_that_a_program_had_before_it_ran_its_herd_are_waited_for(
    standalone: str, program: Program
) -> None:
    program.start("herd.run", standalone, "idle", OWN="1")
    program.terminate()
    until_sync(lambda: program.has("after"))
    program.touch("go")
    assert program.exit() == 0
    assert program.has("own")
    assert program.has("exited")


async def test_a_handler_in_a_process_is_killed_at_a_stop_and_the_host_goes_on(
    standalone: str, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    (tmp_path / "host_app.py").write_text(APP.replace("PREFIX", repr(prefix)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # pyright: ignore[reportUnknownMemberType] - untyped in pytest
    monkeypatch.setenv("OXHERD_URL", standalone)
    herd: Oxherd = importlib.import_module("host_app").herd
    event = herd["process"]
    async with herd:
        emitted = await event.emit(1)
        await event.start()
        await until(lambda: (tmp_path / "begun").exists())
        report = await event.stop(timeout=0.1)
        assert (report.requeued, report.stuck) == ([emitted.id], [])
        assert records.named("event.end", event_id=emitted.id, outcome="requeued")

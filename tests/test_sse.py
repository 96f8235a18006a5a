"""An event's updates over HTTP: who may follow it, what they are told, and what is left of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.routing import Mount

import oxherd.sse
from oxherd import Context, DeclarationError, Emitted, Event, Oxherd, Retry
from oxherd.answers.event_reader import EventReader
from oxherd.servers.standalone import StandaloneServer
from oxherd.sse import updates_route
from tests.asgi import Request
from tests.harness import Records, environment, until

SECRETS = ("payload-secret", "result-secret", "error-secret")


def anybody(_: StarletteRequest, __: UUID) -> bool:
    return True


class Work:
    """An event whose handler stores the progress that it is told to, and ends when it is told to."""

    def __init__(self, herd: Oxherd, authorize: Any = anybody, **options: Any) -> None:
        self.herd = herd
        self.steps: asyncio.Queue[Any] = asyncio.Queue()
        self.event: Event[str, Any] = herd.event("order.placed", retry=Retry(1), **options)(self.handle)
        self.app = updates_route(self.event, authorize)

    async def handle(self, order: str, ctx: Context) -> str:
        while (step := await self.steps.get()) != "end":
            if isinstance(step, BaseException):
                raise step
            await ctx.progress(step)
        return SECRETS[1]

    def do(self, *steps: Any) -> None:
        for step in steps:
            self.steps.put_nowait(step)

    async def running(self) -> Emitted[Any]:
        """Emit one, and start it."""
        emitted = await self.event.emit(SECRETS[0])
        await self.herd.start()
        self.do("begun")
        await until(lambda: has_progress(emitted, "begun"))
        return emitted

    async def reader(self) -> EventReader:
        backend = await self.herd.backend()
        return backend.answers(backend.queue(self.event.declaration)).reader

    def get(self, event_id: Any, **options: Any) -> Request:
        return Request(self.app, f"/{getattr(event_id, 'id', event_id)}", **options)


async def has_progress(emitted: Emitted[Any], progress: Any) -> bool:
    status = await emitted.status()
    return status is not None and status.progress == progress


async def xreads(herd: Oxherd) -> int:
    backend = await herd.backend()
    return (await backend.client.call(0, "CLIENT", "LIST")).count(b"cmd=xread ")


async def test_a_client_is_told_what_happens_until_the_end(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.running()
        async with work.get(emitted) as request:
            await request.until(lambda: len(request.messages) == 2)
            work.do({"done": 0.5}, "end")
            await request.end()
    assert request.status == 200
    headers = request.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    assert "content-length" not in headers
    assert request.told == [("began", None), ("progress", "begun"), ("progress", {"done": 0.5}), ("ended", "completed")]
    assert request.body.startswith(b"retry: 2000\n\nevent: began\n")
    began, progress, _, ended = request.messages
    assert "id" not in began
    assert json.loads(progress["data"]) == {"kind": "progress", "progress": "begun", "outcome": None}
    assert ended["id"].endswith("-end")


async def test_a_client_that_was_cut_off_goes_on_where_it_was(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.running()
        first = work.get(emitted)
        await first.until(lambda: len(first.messages) == 2)
        work.do(1)
        await first.until(lambda: len(first.messages) == 3)
        await first.leave()
        work.do(2)
        await until(lambda: has_progress(emitted, 2))
        async with work.get(emitted, Last_Event_ID=first.messages[1]["id"]) as second:
            await second.until(lambda: second.told == [("progress", 1), ("progress", 2)])
        old, new = first.messages[1]["id"], second.messages[-1]["id"]
        work.do("end")
        for options in ({"Last_Event_ID": new, "query": f"after={old}"}, {"query": f"after={new}"}):
            last = await work.get(emitted, **options).end()
            assert last.told == [("ended", "completed")]
        done = await work.get(emitted, Last_Event_ID=last.messages[-1]["id"]).end()
    assert (done.status, done.body) == (204, b"")


@pytest.mark.parametrize(
    "text", ["x", "1", "1-1-1", "-end", "1-1-end-end", "1-1\t", "18446744073709551616-1", "9" * 5000]
)
async def test_an_id_of_no_message_is_refused(local_herd: Oxherd, text: str) -> None:
    work = Work(local_herd)
    async with local_herd:
        for options in ({"Last_Event_ID": text}, {"query": f"after={text}"}):
            assert (await work.get(uuid4(), **options).end()).status == 400


async def in_a_coroutine(_: StarletteRequest, event_id: UUID) -> bool:
    await asyncio.sleep(0)
    return event_id.version == 7


class Decides:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def __call__(self, request: StarletteRequest, event_id: UUID) -> Any:
        return self.answer

    def plain(self, request: StarletteRequest, event_id: UUID) -> Any:
        asyncio.run(asyncio.sleep(0))  # in a thread
        return self.answer


def partly(answer: Any, _: StarletteRequest, __: UUID) -> Any:
    return answer


@pytest.mark.parametrize("authorize", [in_a_coroutine, Decides(True), Decides(True).plain, partial(partly, True)])
async def test_whoever_is_authorized_in_whatever_way_gets_in(local_herd: Oxherd, authorize: Any) -> None:
    work = Work(local_herd, authorize)
    async with local_herd, work.get(await work.running()) as request:
        await request.until(lambda: request.status == 200)
        work.do("end")


@pytest.mark.parametrize("answer", [False, None, 1, "yes", object(), [True], Decides(True)])
async def test_anything_but_true_is_refused_before_redis_is_asked(records: Records, answer: Any) -> None:
    herd = Oxherd("redis://127.0.0.1:1")
    for authorize in (Decides(answer), Decides(answer).plain, partial(partly, answer)):
        event = herd.declare(f"order.{uuid4().hex}", str)
        refused = await Request(updates_route(event, authorize), f"/{uuid4()}").end()
        assert (refused.status, refused.body) == (403, b"Forbidden")
        refused = await Request(updates_route(event, authorize), f"/{uuid4()}", Last_Event_ID="x").end()
        assert refused.status == 403
    assert herd.nodes() == {}
    await herd.close()


async def test_what_authorize_raises_is_the_applications(local_herd: Oxherd) -> None:
    async def who_are_you(_: StarletteRequest, __: UUID) -> bool:
        raise HTTPException(401)

    async def broken(_: StarletteRequest, __: UUID) -> bool:
        raise RuntimeError("secret")

    event = local_herd.declare("order.placed", str)
    app = Starlette(
        routes=[updates_route(event, who_are_you, path="/a/{id}"), updates_route(event, broken, path="/b/{id}")]
    )
    assert (await Request(app, f"/a/{uuid4()}").end()).status == 401
    request = Request(app, f"/b/{uuid4()}")
    with pytest.raises(RuntimeError):
        await request.end()
    assert (request.status, request.body) == (500, b"Internal Server Error")


async def test_what_is_not_there_is_not_found(local_herd: Oxherd) -> None:
    asked: list[UUID] = []

    def authorize(_: StarletteRequest, event_id: UUID) -> bool:
        asked.append(event_id)
        return True

    work = Work(local_herd, authorize, queue="shared")
    other = local_herd.declare("order.paid", str)
    beside = local_herd.declare("order.sent", str, queue="shared")
    async with local_herd:
        for event_id in (uuid4(), (await other.emit("x")).id, (await beside.emit("x")).id):
            found = await work.get(event_id).end()
            assert (found.status, found.body) == (404, b"Not Found")
            assert asked.pop() == event_id
        for text in ("x", uuid4().hex, f"{{{uuid4()}}}", f"urn:uuid:{uuid4()}", "order-7"):
            assert (await work.get(text).end()).status == 404
    assert asked == []


async def test_one_that_has_ended_is_told_as_such_and_one_that_is_removed_ends_the_stream(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.running()
        async with work.get(emitted) as request:
            await request.until(lambda: request.messages)
            work.do("end")
            await request.end()
        assert (await work.get(emitted).end()).told == [("ended", "completed")]
        await local_herd.stop()
    async with local_herd:
        waiting = await work.event.emit("x")
        request = work.get(waiting)
        await request.until(lambda: request.body)
        backend = await local_herd.backend()
        queue = backend.queue(work.event.declaration)
        await backend.client.call(queue.keys.slot, "DEL", queue.keys.job(str(waiting.id)))
        await request.end()
        assert request.messages == []
        assert (await work.get(waiting).end()).status == 404


async def test_a_client_that_leaves_leaves_nothing(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.running()
        reader = await work.reader()
        before = len(asyncio.all_tasks())
        for _ in range(3):
            requests = [work.get(emitted) for _ in range(10)]
            for request in requests:
                await request.until(lambda request=request: len(request.messages) == 2)
            assert reader.watched == 1
            requests[0].reads.clear()  # one is stuck while it is sent to
            work.do("news")
            for request in requests[1:]:
                await request.until(lambda request=request: len(request.messages) == 3)
            for request in requests:
                await request.leave()
            assert reader.watched == 0
        # The reader's own task is new.
        assert len(asyncio.all_tasks()) <= before + 1
        work.do("end")


async def test_a_client_that_does_not_read_holds_up_nobody_and_keeps_little(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.running()
        slow, quick = work.get(emitted), work.get(emitted)
        for request in (slow, quick):
            await request.until(lambda request=request: len(request.messages) == 2)
        slow.reads.clear()
        work.do(*range(700))
        await quick.until(lambda: quick.body.count(b"data: ") == 702)
        assert len(slow.messages) == 2
        assert (await work.reader()).kept <= 200
        slow.reads.set()
        await slow.until(lambda: slow.body.count(b"data: ") == 702)
        work.do("end")
        assert (await slow.end()).told == (await quick.end()).told


async def test_two_hundred_streams_read_by_one_connection(local_herd: Oxherd, standalone: str) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = [await work.running(), *await work.event.emit_many(["x"] * 9)]
        requests = [work.get(each) for each in emitted for _ in range(20)]
        for request in requests:
            await request.until(lambda request=request: request.body)
        work.do("more", *["end"] * 10)
        for request in requests:
            assert (await request.end()).told[-1] == ("ended", "completed")
        assert await xreads(local_herd) <= 1


async def test_nothing_of_the_payload_the_result_or_an_error_is_in_the_stream(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        for last in ("end", ValueError(SECRETS[2])):
            emitted = await work.running()
            async with work.get(emitted) as request:
                await request.until(lambda request=request: request.messages)
                work.do(last)
                await request.end()
            assert request.told[-1] == ("ended", "completed" if last == "end" else "failed")
            for secret in (*SECRETS, "ValueError"):
                assert secret.encode() not in request.body


HOSTILE = (
    '"a\\n\\ndata: b\\nid: 7\\r\\revent: ended\\u2028\\u2029\\u0085\\u0000"',
    '"\u2028\u2029\u0085é🐂"',
    '"\\ud83d"',
    "NaN",
    "[1e999]",
    "[" * 5000,
    "9" * 5000,
    "no JSON",
    '{"__proto__": "\\u003c/script>"}',
)


@pytest.mark.parametrize("progress", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("late", [False, True])
async def test_no_progress_breaks_out_of_its_line(local_herd: Oxherd, progress: str, late: bool) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.running()
        backend = await local_herd.backend()
        queue = backend.queue(work.event.declaration)
        job_id = str(emitted.id)

        async def store() -> None:  # as another program may
            await backend.client.call(queue.keys.slot, "HSET", queue.keys.job(job_id), "progress", progress.encode())
            added = ("event", "progress", "jobId", job_id, "data", progress.encode())
            await backend.client.call(queue.keys.slot, "XADD", queue.keys.events, "*", *added)

        if late:
            await store()
        request = work.get(emitted)
        await request.until(lambda: request.messages)
        if not late:
            await store()
        work.do("next", "end")
        await request.end()
    lines = request.body.decode("ascii").split("\n")
    assert all(line.partition(": ")[0] in ("retry", "id", "event", "data", "") for line in lines)
    assert request.told[-1] == ("ended", "completed")
    assert [kind for kind, _ in request.told].count("ended") == 1


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, with an append-only file, to be broken."""
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


async def test_a_stream_outlives_an_outage_and_none_begins_in_one(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oxherd.sse, "_HEARTBEAT_SECONDS", 0.05)
    herd = make_herd(server.url, emit_timeout=0.5)
    work = Work(herd)
    async with herd:
        emitted = await work.running()
        request = work.get(emitted)
        await request.until(lambda: len(request.messages) == 2)
        server.kill()
        assert (await work.get(emitted).end()).status == 503
        assert (await work.get(uuid4()).end()).status == 503
        beats = request.body.count(b":\n\n")
        await request.until(lambda: request.body.count(b":\n\n") > beats + 3)
        server.start()
        work.do("again", "end")
        await request.end()
        assert request.told[-1] == ("ended", "completed")
        assert ("progress", "again") in request.told


async def test_a_long_stream_ends_so_that_its_client_is_asked_for_again(
    local_herd: Oxherd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oxherd.sse, "_HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(oxherd.sse, "_LONGEST_SECONDS", 0.1)
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.event.emit("x")
        request = await work.get(emitted).end()
        assert request.messages == []
        assert (await work.reader()).watched == 0


async def test_a_client_that_never_reads_is_cut_off(local_herd: Oxherd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oxherd.sse, "_HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(oxherd.sse, "_LONGEST_SECONDS", 0.1)
    work = Work(local_herd)
    async with local_herd:
        request = work.get(await work.event.emit("x"))
        request.reads.clear()
        await request.end()
        assert request.body == b""
        assert (await work.reader()).watched == 0


async def test_a_head_has_no_body(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        request = await work.get(await work.event.emit("x"), method="HEAD").end()
        assert (await work.reader()).watched == 0
    assert (request.status, request.body) == (200, b"")
    assert request.headers["content-type"].startswith("text/event-stream")


async def test_it_serves_in_starlette_fastapi_and_by_itself(local_herd: Oxherd) -> None:
    async def through(request: StarletteRequest, call_next: Any) -> Any:
        return await call_next(request)

    work = Work(local_herd)
    route = updates_route(work.event, anybody, path="/orders/{id}/updates")
    fast = FastAPI()
    fast.router.routes.append(route)
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=through), Middleware(GZipMiddleware)]
    apps = {
        "/orders": updates_route(work.event, anybody, path="/orders/{id:uuid}/updates"),
        "/shop/orders": Starlette(routes=[Mount("/shop", routes=[route])], middleware=middleware),
        "//orders": fast,
    }
    async with local_herd:
        emitted = await work.running()
        for prefix, app in apps.items():
            path = f"/{prefix.strip('/')}/{emitted.id}/updates"
            async with Request(app, path, accept_encoding="gzip") as request:
                await request.until(lambda request=request: len(request.messages) == 2)
            assert (await Request(app, path, method="POST").end()).status == 405
        assert (await work.reader()).watched == 0
        work.do("end")
    assert str(apps["/shop/orders"].url_path_for("order.placed.updates", id="7")) == "/shop/orders/7/updates"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, r"order\.placed: updates_route\(\) needs authorize="),
        ((None,), {}, "returns True for those who may follow it"),
        ((True,), {}, "needs authorize="),
        ((anybody,), {"path": "/orders"}, r"path= has \{id\} for the event's UUID"),
        ((anybody,), {"path": "{id}"}, "path= begins with a slash"),
        ((anybody,), {"path": None}, "path= begins with a slash"),
    ],
)
def test_a_route_that_lacks_something_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        updates_route(Oxherd().declare("order.placed", str), *arguments, **options)


def test_a_route_is_of_an_event() -> None:
    with pytest.raises(DeclarationError, match=r"updates_route\(\) takes an event"):
        updates_route(Oxherd(), anybody)  # pyright: ignore[reportArgumentType]


def test_without_starlette_the_error_says_what_to_install() -> None:
    script = "import sys; sys.modules['starlette.routing'] = None; import oxherd.sse"
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert ran.stderr.endswith("ConfigError: Starlette is not installed; install oxherd[sse].\n")


def test_nothing_else_imports_starlette() -> None:
    script = "import sys, oxherd.cli.main, oxherd.app; print('starlette' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"

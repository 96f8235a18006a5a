"""`GET /events/{id}` in Starlette and FastAPI: who may ask, what they are told, and how an event is found by its id."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest

from oxherd import Context, DeclarationError, Emitted, Keep, Oxherd, Retry
from oxherd.fastapi import events_router
from oxherd.servers.standalone import StandaloneServer
from oxherd.starlette import events_routes
from tests.asgi import Request
from tests.harness import until

ONCE = Retry(attempts=1)
SECRETS = ("payload-secret", "result-secret", "error-secret")


def anybody(_: StarletteRequest, __: UUID) -> bool:
    return True


def of_starlette(herd: Oxherd, authorize: Any = anybody, **options: Any) -> Any:
    return Starlette(routes=events_routes(herd, authorize, **options))


def of_fastapi(herd: Oxherd, authorize: Any = anybody, **options: Any) -> Any:
    app = FastAPI()
    app.include_router(events_router(herd, authorize, **options))
    return app


both = pytest.mark.parametrize("make", [of_starlette, of_fastapi])
Make = Callable[..., Any]


async def get(app: Any, event_id: Any, path: str = "", **options: Any) -> Request:
    return await Request(app, f"/events/{getattr(event_id, 'id', event_id)}{path}", **options).end()


async def told(app: Any, event_id: Any) -> dict[str, Any]:
    answer = await get(app, event_id)
    assert answer.status == 200, (answer.status, answer.body)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    return json.loads(answer.body)


async def ended(emitted: Emitted[Any]) -> None:
    async def has_ended() -> bool:
        return await emitted.outcome() is not None

    await until(has_ended)


@both
async def test_an_event_is_found_by_its_id_alone_from_its_emit_until_after_its_end(
    local_herd: Oxherd, make: Make
) -> None:
    @local_herd.event("invoice.send", retry=ONCE)
    async def invoice(number: int) -> None: ...

    @local_herd.event("order.placed", retry=ONCE)
    async def placed(text: str, ctx: Context) -> str:
        await ctx.progress({"done": 1, "of": 2})
        return SECRETS[1]

    app = make(local_herd)
    async with local_herd:
        emitted = await placed.emit(SECRETS[0])
        waiting = await told(app, emitted)
        assert waiting.pop("emitted_at") is not None
        assert waiting == {
            "id": str(emitted.id),
            "event": "order.placed",
            "state": "waiting",
            "outcome": None,
            "paused": False,
            "attempt": 1,
            "progress": None,
            "due_at": None,
            "began_at": None,
            "ended_at": None,
        }
        await local_herd.start()
        await ended(emitted)
        assert await emitted.status() is None
        for asked in (app, make(local_herd)):  # that had it while it was stored, and another process
            done = await told(asked, emitted)
            assert (done["event"], done["state"], done["outcome"]) == ("order.placed", "completed", "completed")
            assert "result" not in done


@both
async def test_what_it_says_of_a_failure_holds_nothing_private(local_herd: Oxherd, make: Make) -> None:
    @local_herd.event("order.placed", retry=ONCE)
    async def placed(text: str, ctx: Context) -> str:
        raise ValueError(SECRETS[2])

    app = make(local_herd, results=True)
    async with local_herd:
        emitted = await placed.emit(SECRETS[0])
        await local_herd.start()
        await ended(emitted)
        answer = await get(app, emitted)
    failed = json.loads(answer.body)
    assert (failed["state"], failed["outcome"], failed["result"]) == ("failed", "failed", None)
    assert failed["ended_at"] >= failed["began_at"] >= failed["emitted_at"]
    assert not [secret for secret in SECRETS if secret in answer.body.decode()]


class Receipt(BaseModel):
    number: int
    lines: list[str]


@both
@pytest.mark.parametrize("keep", [Keep(), Keep(completed=10)])
async def test_a_result_is_told_only_where_the_application_wants_it(local_herd: Oxherd, make: Make, keep: Keep) -> None:
    @local_herd.event("order.placed", retry=ONCE, keep=keep)
    async def placed(number: int) -> Receipt:
        return Receipt(number=number, lines=["a"])

    async with local_herd:
        emitted = await placed.emit(7)
        with_results, without = make(local_herd, results=True), make(local_herd)
        assert (await told(with_results, emitted))["result"] is None
        await local_herd.start()
        await ended(emitted)
        assert (await told(with_results, emitted))["result"] == {"number": 7, "lines": ["a"]}
        done = await told(without, emitted)
        assert "result" not in done
        assert done["outcome"] == "completed"


@both
async def test_an_event_that_was_cancelled_before_it_began_is_told_as_such(local_herd: Oxherd, make: Make) -> None:
    placed = local_herd.declare("order.placed", int)
    async with local_herd:
        emitted = await placed.emit(1)
        assert await emitted.cancel("a secret reason")
        assert [(await told(make(local_herd), emitted))[each] for each in ("state", "outcome")] == [
            "failed",
            "cancelled",
        ]


@both
async def test_the_stream_is_found_by_the_id_alone_and_goes_on_where_it_was(local_herd: Oxherd, make: Make) -> None:
    local_herd.declare("invoice.send", int)

    @local_herd.event("order.placed", retry=ONCE)
    async def placed(number: int, ctx: Context) -> None:
        await ctx.progress(number)

    app = make(local_herd)
    async with local_herd:
        emitted = await placed.emit(7)
        async with Request(app, f"/events/{emitted.id}/stream") as following:
            await following.until(lambda: following.body)
            await local_herd.start()
            await following.end()
        assert following.headers["content-type"].startswith("text/event-stream")
        assert following.told == [("began", None), ("progress", 7), ("ended", "completed")]
        late = await get(app, emitted, "/stream")
        assert late.told == [("ended", "completed")]
        assert (await get(app, emitted, "/stream", Last_Event_ID=late.messages[-1]["id"])).status == 204
        assert (await get(app, emitted, "/stream", Last_Event_ID="x")).status == 400
        assert (await get(app, uuid4(), "/stream")).status == 404


class Asked:
    """An `authorize` that remembers of what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.ids: list[UUID] = []

    async def __call__(self, request: StarletteRequest, event_id: UUID) -> Any:
        self.ids.append(event_id)
        return self.answer


@both
@pytest.mark.parametrize("answer", [False, None, 1, "yes"])
async def test_a_stranger_is_told_the_same_of_every_id_before_redis_is_asked(make: Make, answer: Any) -> None:
    herd = Oxherd("redis://127.0.0.1:1")
    herd.declare("order.placed", int)
    authorize = Asked(answer)
    app, event_id = make(herd, authorize), uuid4()
    for path in ("", "/stream"):
        refused = await get(app, event_id, path)
        assert (refused.status, refused.body) == (403, b"Forbidden")
        assert (await get(app, event_id, path, Last_Event_ID="x")).status == 403
    assert authorize.ids == [event_id] * 4
    assert herd.nodes() == {}
    await herd.close()


@both
async def test_what_authorize_raises_is_the_applications(local_herd: Oxherd, make: Make) -> None:
    def who_are_you(_: StarletteRequest, __: UUID) -> bool:
        raise HTTPException(401)

    assert (await get(make(local_herd, who_are_you), uuid4())).status == 401


@both
@pytest.mark.parametrize("text", ["1", "x" * 36, "{018f4b0e-0000-7000-8000-000000000000}", "%00"])
async def test_what_is_no_uuid_is_not_found_and_nobody_is_asked(local_herd: Oxherd, make: Make, text: str) -> None:
    authorize = Asked(True)
    app = make(local_herd, authorize)
    assert [(await get(app, text, path)).status for path in ("", "/stream")] == [404, 404]
    assert authorize.ids == []


@both
async def test_what_nothing_is_stored_of_is_not_found(local_herd: Oxherd, make: Make) -> None:
    for name in ("order.placed", "invoice.send"):
        local_herd.declare(name, int)
    async with local_herd:
        answer = await get(make(local_herd), uuid4())
    assert (answer.status, answer.body) == (404, b"Not Found")


@both
async def test_only_the_events_that_are_named_are_found(local_herd: Oxherd, make: Make) -> None:
    shown, hidden = (local_herd.declare(name, int) for name in ("order.placed", "salary.paid"))
    async with local_herd:
        app = make(local_herd, events=[shown])
        assert (await told(app, await shown.emit(1)))["event"] == "order.placed"
        emitted = await hidden.emit(1)
        assert [(await get(app, emitted, path)).status for path in ("", "/stream")] == [404, 404]


async def test_an_event_with_shards_is_found(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", str, shards=4, key=lambda text: text)
    async with local_herd:
        for emitted in await placed.emit_many([f"customer {number}" for number in range(8)]):
            assert (await told(of_starlette(local_herd), emitted))["state"] == "waiting"


async def test_of_one_that_has_ended_on_a_queue_of_several_the_name_is_told_if_it_was_seen(local_herd: Oxherd) -> None:
    results: list[str] = []

    @local_herd.event("order.placed", queue="orders", retry=ONCE)
    async def placed(number: int) -> str:
        return "placed"

    @local_herd.event("order.paid", queue="orders", retry=ONCE)
    async def paid(number: int) -> str:
        return "paid"

    app = of_starlette(local_herd, results=True)
    async with local_herd:
        for event in (placed, paid):
            emitted = await event.emit(1)
            assert (await told(app, emitted))["event"] == event.name
            await local_herd.start()
            await ended(emitted)
            await local_herd.stop()
            seen = await told(app, emitted)
            results.append(seen["result"])
            assert seen["event"] == event.name
            unseen = await told(of_starlette(local_herd, results=True), emitted)
            assert (unseen["event"], unseen["outcome"], unseen["result"]) == (None, "completed", None)
    assert results == ["placed", "paid"]


async def test_once_it_is_known_which_event_an_id_is_of_only_that_is_asked(local_herd: Oxherd) -> None:
    for number in range(9):
        local_herd.declare(f"other.{number}", int)
    placed = local_herd.declare("order.placed", int)
    app = of_starlette(local_herd)

    async def scripts() -> int:
        stats = await (await local_herd.backend()).client.call(0, "INFO", "commandstats")
        text = stats.decode() if isinstance(stats, bytes) else str(stats)
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return int(lines["cmdstat_evalsha"].split(",")[0].removeprefix("calls="))

    async with local_herd:
        emitted = await placed.emit(1)
        await told(app, emitted)
        before = await scripts()
        await told(app, emitted)
        assert await scripts() - before == 1


async def test_an_id_that_another_event_has_by_now_is_that_ones(local_herd: Oxherd) -> None:
    first, second = (local_herd.declare(name, int) for name in ("order.placed", "order.paid"))
    app = of_starlette(local_herd)
    async with local_herd:
        emitted = await first.emit(1)
        await told(app, emitted)
        backend = await local_herd.backend()
        keys = backend.queue(first.declaration).keys
        await backend.client.call(keys.slot, "DEL", keys.job(str(emitted.id)), keys.events)
        await second.emit(1, id=emitted.id)
        assert (await told(app, emitted))["event"] == "order.paid"


@both
async def test_while_redis_is_away_it_says_so(make: Make) -> None:
    with StandaloneServer() as server:
        herd = Oxherd(server.url, emit_timeout=0.5)
        placed = herd.declare("order.placed", int)
        async with herd:
            emitted = await placed.emit(1)
            app = make(herd)
            assert (await told(app, emitted))["state"] == "waiting"
            server.stop()
            for path in ("", "/stream"):
                answer = await get(app, emitted, path)
                assert (answer.status, answer.body) == (503, b"Service Unavailable")


async def test_progress_that_is_no_json_of_ours_hides_nothing_else(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int)
    async with local_herd:
        emitted = await placed.emit(1)
        backend = await local_herd.backend()
        keys = backend.queue(placed.declaration).keys
        deep = "[" * 900 + "]" * 900
        await backend.client.call(keys.slot, "HSET", keys.job(str(emitted.id)), "progress", deep)
        assert (await told(of_starlette(local_herd), emitted))["state"] == "waiting"


# -- FastAPI's own


async def test_the_router_heeds_prefixes_and_dependencies_and_describes_itself(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int)

    def logged_in(request: StarletteRequest) -> None:
        if "session" not in request.cookies:
            raise HTTPException(401)

    app = FastAPI()
    router = events_router(local_herd, authorize=anybody, results=True)
    app.include_router(router, prefix="/api", dependencies=[Depends(logged_in)], tags=["events"])
    async with local_herd:
        emitted = await placed.emit(1)
        for path in ("", "/stream"):
            assert (await Request(app, f"/api/events/{emitted.id}{path}").end()).status == 401
        allowed = await Request(app, f"/api/events/{emitted.id}", Cookie="session=1").end()
    assert json.loads(allowed.body)["state"] == "waiting"
    described = app.openapi()["paths"]["/api/events/{id}"]["get"]
    assert described["tags"] == ["events"]
    assert "EventResult" in json.dumps(described["responses"]["200"])
    assert {"403", "404", "503"} < set(described["responses"])


def get_config() -> str:
    return "config"


Config = Annotated[str, Depends(get_config)]


async def get_mailer(config: Config) -> str:
    return f"mailer of {config}"


async def test_a_dependency_is_marked_once_for_endpoints_and_handlers(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def placed(number: int, mailer: Annotated[str, Depends(get_mailer)]) -> str:
        return mailer

    app = FastAPI()

    @app.get("/mailer")
    async def mailer(mailer: Annotated[str, Depends(get_mailer)]) -> str:  # pyright: ignore[reportUnusedFunction]
        return mailer

    assert await placed(1) == "mailer of config"
    assert json.loads((await Request(app, "/mailer").end()).body) == "mailer of config"


# -- what is refused


@pytest.mark.parametrize("make", [events_routes, events_router])
def test_wrong_arguments_are_refused_each_in_a_sentence(local_herd: Oxherd, make: Any) -> None:
    other = Oxherd().declare("order.placed", int)
    for arguments, options, sentence in [
        ((local_herd,), {}, "need authorize=, a function of the request and the event's UUID"),
        ((local_herd, "anybody"), {}, "need authorize="),
        ((anybody, local_herd), {}, "take a herd first"),
        ((local_herd, anybody), {"events": [other]}, "takes events of this herd"),
        ((local_herd, anybody), {"events": ["order.placed"]}, "takes events of this herd"),
        ((local_herd, anybody), {"results": "yes"}, "results"),
    ]:
        with pytest.raises(DeclarationError, match=sentence):
            make(*arguments, **options)

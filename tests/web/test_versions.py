"""A web process whose declarations are of another version than the worker's."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest

from oxherd import Keep, Oxherd
from oxherd.starlette import events_routes
from tests.asgi import Request


def anybody(_: StarletteRequest, __: UUID) -> bool:
    return True


async def test_a_result_that_does_not_fit_the_type_declared_here_hides_nothing_else(
    standalone: str, make_herd: Callable[..., Oxherd]
) -> None:
    newer, older = make_herd(standalone), make_herd(standalone)

    @newer.event("order.placed", keep=Keep(completed=1))
    async def placed(number: int) -> str:
        return f"order {number}"

    older.declare("order.placed", int, result=int)
    app = Starlette(routes=events_routes(older, anybody, results=True))
    async with newer, older:
        await newer.start()
        emitted = await placed.emit(7)
        assert await emitted.result() == "order 7"
        answer = await Request(app, f"/events/{emitted.id}").end()
        shown = json.loads(answer.body)
        assert (answer.status, shown["outcome"], shown["result"]) == (200, "completed", None)

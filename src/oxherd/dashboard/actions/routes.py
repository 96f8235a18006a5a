"""Answers for the actions: asks, does, and says what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from oxherd.dashboard.access.form import form
from oxherd.dashboard.access.user import User
from oxherd.dashboard.actions.action import Acting, Action
from oxherd.dashboard.actions.events import event_action, limits_action, move_action, schedule_action
from oxherd.dashboard.actions.selections import VERBS, selection_action
from oxherd.dashboard.board import Board, problem_page, root_of
from oxherd.dashboard.operations import Operations, Running
from oxherd.dashboard.page import Page
from oxherd.errors import OxherdError

ACTIONS: dict[str, Action] = {
    **{name: selection_action(verb) for name, verb in VERBS.items()},
    **{name: event_action(name) for name in ("pause", "resume")},
    **{name: schedule_action(name) for name in ("run", "pause-schedule", "resume-schedule")},
    "limits": limits_action,
    "move": move_action,
}


def action_routes(board: Board, operations: Operations) -> list[Route]:
    """The routes of the actions, and of operations that are stopped and gone on with."""

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        action = ACTIONS.get(name)
        user: User = request.scope["oxherd.user"]
        if action is None:
            return _problem(board, request, "No such action", "There is no such action.", 404)
        if not user.may_act:
            return _problem(board, request, "Operators only", "A viewer cannot change anything; ask an operator.", 403)
        try:
            if request.method == "POST":
                address = await action.act(Acting(board.herd, operations, user), await form(request))
                return _see_other(request, address)
            question = await action.ask(board.herd, request.query_params)
        except OxherdError as error:
            return board.response(request, problem_page(error))
        return board.response(request, Page("question.html", question.title, {"question": question, "action": name}))

    def steering(step: Callable[[Running], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def steer(request: Request) -> Response:
            running = operations.get(request.path_params["id"])
            if running is not None:
                try:
                    await step(running)
                except OxherdError as error:
                    return board.response(request, problem_page(error))
            return _see_other(request, f"/operations/{request.path_params['id']}")

        return steer

    async def stop(running: Running) -> None:
        running.operation.stop()

    async def go_on(running: Running) -> None:
        operations.go_on(running)

    return [
        Route("/actions/{name}", answer, methods=["GET", "POST"]),
        Route("/operations/{id}/stop", steering(stop), methods=["POST"]),
        Route("/operations/{id}/go-on", steering(go_on), methods=["POST"]),
    ]


def _see_other(request: Request, address: str) -> Response:
    return RedirectResponse(root_of(request) + address, 303)


def _problem(board: Board, request: Request, title: str, what: str, status: int) -> Response:
    return board.response(request, Page("problem.html", title, {"what": what, "again": False}, status=status))

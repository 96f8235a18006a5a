"""Answers for the actions: asks, does, and says what became of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from oxherd.dashboard.access.form import form
from oxherd.dashboard.access.user import User
from oxherd.dashboard.actions.action import Acting, Action
from oxherd.dashboard.actions.events import event_action, move_action, schedule_action
from oxherd.dashboard.actions.limits import limits_action
from oxherd.dashboard.actions.selections import VERBS, selection_action
from oxherd.dashboard.board import Board, problem_page, root_of
from oxherd.dashboard.operations import Operations
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
    return [
        Route("/actions/{name}", _Actions(board, operations).answer, methods=["GET", "POST"]),
        Route("/operations/{id}/{step}", _Steps(board, operations).answer, methods=["POST"]),
    ]


class _Actions:
    """Answers with an action's question, or does it."""

    def __init__(self, board: Board, operations: Operations) -> None:
        self._board = board
        self._operations = operations

    async def answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        action = ACTIONS.get(name)
        user: User = request.scope["oxherd.user"]
        if action is None:
            return _problem(self._board, request, "No such action", "There is no such action.", 404)
        if not user.may_act:
            what = "A viewer cannot change anything; ask an operator."
            return _problem(self._board, request, "Operators only", what, 403)
        try:
            return await self._asked_or_done(request, name, action, user)
        except OxherdError as error:
            return self._board.response(request, problem_page(error))

    async def _asked_or_done(self, request: Request, name: str, action: Action, user: User) -> Response:
        herd = self._board.herd
        if request.method == "POST":
            leads_to = await action.act(Acting(herd, self._operations, user), await form(request))
            self._board.known.expire()
            return _see_other(request, leads_to)
        question = await action.ask(herd, request.query_params)
        values = {"question": question, "action": name}
        return self._board.response(request, Page("question.html", question.title, values, is_live=False))


class _Steps:
    """Stops an operation, or goes on with it."""

    def __init__(self, board: Board, operations: Operations) -> None:
        self._board = board
        self._operations = operations

    async def answer(self, request: Request) -> Response:
        running, step = self._operations.get(request.path_params["id"]), request.path_params["step"]
        if running is None or step not in ("stop", "go-on"):
            return _problem(self._board, request, "No such operation", "This process does not know it any more.", 404)
        try:
            if step == "stop":
                running.stop()
            else:
                await self._operations.go_on(running, request.scope["oxherd.user"].name)
        except OxherdError as error:
            return self._board.response(request, problem_page(error))
        return _see_other(request, f"/operations/{running.id}")


def _see_other(request: Request, address: str) -> Response:
    return RedirectResponse(root_of(request) + address, 303)


def _problem(board: Board, request: Request, title: str, what: str, status: int) -> Response:
    return board.response(
        request, Page("problem.html", title, {"what": what, "again": False}, status=status, is_live=False)
    )

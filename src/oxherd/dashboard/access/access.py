"""Who asks: by the host application's function, by a token, or, on this machine, without either."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from inspect import isawaitable, iscoroutinefunction

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from oxherd.dashboard.access.hosts import Hosts, comes_from_here
from oxherd.dashboard.access.keyring import Keyring
from oxherd.dashboard.access.user import Role, User

Authenticate = Callable[[Request], Awaitable[User | None] | User | None]

COOKIE = "oxherd_session"
_BEARER = "bearer "
_log = logging.getLogger("oxherd.dashboard")


@dataclass(frozen=True)
class Access:
    """How users are known.

    Attributes:
        authenticate: the host application's; asked before the tokens.
        keyring: the tokens; without these and without `authenticate`, only who sits at this machine may look.
        hosts: the names that a request may have in its Host; None for any, which only `authenticate` may have.
        read_only: whether everybody is a viewer.
    """

    authenticate: Authenticate | None = None
    keyring: Keyring | None = None
    hosts: Hosts | None = None
    read_only: bool = False

    async def user(self, request: Request) -> User | None:
        """Who asks; None if that is not known."""
        user = await self._user(request)
        return replace(user, role=Role.VIEWER) if user is not None and self.read_only else user

    async def _user(self, request: Request) -> User | None:
        if self.authenticate is not None:
            user = await self._authenticated(self.authenticate, request)
            if user is not None:
                return user
        if self.keyring is not None:
            return _user_of_token(self.keyring, request)
        if self.authenticate is None and comes_from_here(request):
            return User("local", Role.OPERATOR)
        return None

    @staticmethod
    async def _authenticated(authenticate: Authenticate, request: Request) -> User | None:
        if iscoroutinefunction(authenticate):
            answer: object = authenticate(request)
        else:
            answer = await run_in_threadpool(authenticate, request)
        if isawaitable(answer):
            answer = await answer
        if answer is None or isinstance(answer, User):
            return answer
        _log.warning("dashboard: authenticate returned a %s; return a User or None", type(answer).__name__)
        return None


def log_wrong_token(request: Request) -> None:
    """Say from where a wrong token came, without it."""
    _log.warning("dashboard: a token was wrong, from %s", request.client.host if request.client else "a socket")


def _user_of_token(keyring: Keyring, request: Request) -> User | None:
    sent = request.headers.get("authorization", "")
    if sent.lower().startswith(_BEARER):
        user = keyring.user(sent[len(_BEARER) :].strip())
        if user is None:
            log_wrong_token(request)
        return user
    session = request.cookies.get(COOKIE)
    return None if session is None else keyring.session_user(session)

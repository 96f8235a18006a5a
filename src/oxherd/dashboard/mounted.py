"""`dashboard(herd)`: the pages behind their guard, as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from oxherd.dashboard.access.access import Access, Authenticate
from oxherd.dashboard.access.guard import Guard
from oxherd.dashboard.access.hosts import Hosts
from oxherd.dashboard.access.keyring import Keyring
from oxherd.dashboard.application import application
from oxherd.errors import ConfigError

if TYPE_CHECKING:
    from oxherd.app import Oxherd


def dashboard(
    herd: Oxherd,
    *,
    authenticate: Authenticate | None = None,
    token: str | None = None,
    allowed_hosts: Iterable[str] = (),
    read_only: bool = False,
) -> ASGIApp:
    """The dashboard of a herd, as an ASGI application to mount: `app.mount("/queues", dashboard(herd))`.

    Without `authenticate` and `token` it answers on loopback only, to who asks from the machine itself by no proxy.

    Args:
        herd: the herd; the application opens and closes it (`async with herd`), in the same event loop.
        authenticate: who asks: called with each request (Starlette's), returns a `User`, or None for nobody. A `def`
            runs in a thread; what it raises, the application handles.
        token: 20 characters or more; whoever signs in with it is an operator.
        allowed_hosts: the names that a request may have in its Host; empty for any.
        read_only: everybody is a viewer.

    Raises:
        ConfigError: `authenticate` cannot be called, the token is too short, or a host is no name.
    """
    if authenticate is not None and not callable(authenticate):
        raise ConfigError("authenticate is a function of the request that returns a User, or None.")
    keyring = None if token is None else Keyring.of_token(token)
    hosts = Hosts(allowed_hosts) if (allowed_hosts := tuple(allowed_hosts)) else None
    return guarded(herd, Access(authenticate, keyring, hosts, read_only))


def guarded(herd: Oxherd, access: Access, stopping: asyncio.Event | None = None) -> ASGIApp:
    """The pages of a herd behind a guard; their streams end once `stopping` is set."""
    return Guard(application(herd, access.keyring, stopping), access)

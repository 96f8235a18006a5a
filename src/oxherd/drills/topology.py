"""The servers that a drill runs on: its own, which it may break, or the user's, which it may not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from oxherd.drills.drill import Drill, Needs
from oxherd.errors import UsageError
from oxherd.redis.url import parse_url
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer


@dataclass(frozen=True, slots=True)
class UserServer:
    """A server of the user, which a drill neither starts, stops nor breaks."""

    url: str = field(repr=False)


Topology = UserServer | StandaloneServer | LocalCluster


def check_url(drill: Drill, url: str | None) -> None:
    """Refuse a drill that would break the user's server.

    Raises:
        UsageError: the drill breaks its server, or the URL cannot be parsed.
    """
    if url is not None:
        parse_url(url)
        if drill.needs is not Needs.WORKERS:
            raise UsageError(f"{drill.name} breaks its server, so it starts its own; leave --url out.")


@contextmanager
def topology_for(drill: Drill, url: str | None) -> Generator[Topology]:
    """The servers of a drill, started and stopped."""
    check_url(drill, url)
    settings: dict[str, Any] = dict(drill.server or {})
    if url is not None:
        yield UserServer(url)
    elif drill.needs is Needs.CLUSTER:
        with LocalCluster(settings={"enable-debug-command": "local", **settings}) as cluster:
            yield cluster
    else:
        password = settings.pop("password", None)
        with StandaloneServer(settings={"appendonly": "yes", **settings}, password=password) as server:
            yield server

"""What a drill runs on: servers of its own that it may break, or a server of the user's that it may not."""

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
class Given:
    """A server of the user's: nothing of it is started, stopped or broken."""

    url: str = field(repr=False)


Topology = Given | StandaloneServer | LocalCluster


def check_url(drill: Drill, url: str | None) -> None:
    """Refuse a server of the user's for a drill that would break it.

    Raises:
        UsageError: the drill runs on servers of its own only, or the URL is none.
    """
    if url is not None:
        parse_url(url)
        if drill.needs is not Needs.WORKERS:
            raise UsageError(f"{drill.name} breaks its server, and runs on servers of its own only; leave --url out.")


@contextmanager
def topology_for(drill: Drill, url: str | None) -> Generator[Topology]:
    """The servers for a drill, from their start to their stop."""
    check_url(drill, url)
    settings: dict[str, Any] = dict(drill.server or {})
    if url is not None:
        yield Given(url)
    elif drill.needs is Needs.CLUSTER:
        with LocalCluster(settings={"enable-debug-command": "local", **settings}) as cluster:
            yield cluster
    else:
        password = settings.pop("password", None)
        with StandaloneServer(settings={"appendonly": "yes", **settings}, password=password) as server:
            yield server

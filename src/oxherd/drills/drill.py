"""The declaration of a drill: what it breaks, on which server, and what it may cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a session runs a drill, and a drill's fault acts on a session
    from oxherd.drills.session import DrillSession

Fault = Callable[["DrillSession"], Awaitable[None]]


class Needs(Enum):
    """The server that a drill needs."""

    WORKERS = "any server"  # it breaks workers only: a user's server will do
    SERVER = "a server of its own"
    CLUSTER = "a cluster of its own"


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill.

    `repeats`: it kills, stops or blocks a worker, or loses a lock, so that an event running at that moment may run
    twice. `durable`: its events are emitted with `durable=True`. `erases`: it deletes events. `fails`: how many events
    it fails. `server` and `app` are settings of the server and the workers; `seconds` is roughly how long it takes.
    """

    name: str
    description: str
    inject: Fault
    needs: Needs
    workers: int = 2
    repeats: bool = False
    durable: bool = False
    erases: bool = False
    fails: int = 0
    server: dict[str, Any] | None = None
    app: dict[str, Any] | None = None
    seconds: int = 10


def drill(name: str, description: str, needs: Needs, **options: Any) -> Callable[[Fault], Drill]:
    """Decorate a fault, which makes it a drill."""

    def decorate(fault: Fault) -> Drill:
        return Drill(name, description, fault, needs, **options)

    return decorate

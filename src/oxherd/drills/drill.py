"""What a drill is: what it breaks, on what, and what it may cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a scene runs a drill, and a drill acts on a scene
    from oxherd.drills.scene import Scene

Act = Callable[["Scene"], Awaitable[None]]


class Needs(Enum):
    """What a drill breaks, and so what it runs on."""

    WORKERS = auto()  # any server will do, also one of the user's own
    SERVER = auto()  # a standalone server of its own
    CLUSTER = auto()  # a cluster of six nodes of its own


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill.

    `repeats`: it kills, stops or blocks a worker, or lets a lock be lost, so that what ran at that moment may run
    twice. `durable`: its events are emitted with `durable=True`. `erases`: it destroys events on purpose.
    `server` and `app` are settings for the server and the workers; `seconds` is about how long it takes.
    """

    name: str
    does: str
    act: Act
    needs: Needs
    workers: int = 2
    repeats: bool = False
    durable: bool = False
    erases: bool = False
    fails: int = 0
    server: dict[str, Any] | None = None
    app: dict[str, Any] | None = None
    seconds: int = 10


def drill(name: str, does: str, needs: Needs, **options: Any) -> Callable[[Act], Drill]:
    """Make a drill of what it does on a scene."""

    def decorate(act: Act) -> Drill:
        return Drill(name, does, act, needs, **options)

    return decorate

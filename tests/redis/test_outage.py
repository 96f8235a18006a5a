"""What opens and closes an outage."""

from __future__ import annotations

import time

from oxherd.redis.outage import Outages
from oxherd.signals import RedisFault, Signal


def noted() -> tuple[Outages, list[str]]:
    said: list[str] = []

    def note(signal: Signal) -> None:
        said.append("error" if isinstance(signal, RedisFault) else "recovered")

    return Outages(note), said


def test_what_began_before_a_recovery_belongs_to_the_outage_that_ended() -> None:
    outages, said = noted()
    opened = time.monotonic()
    outages.down("node", "connect", OSError("cut"))
    outages.up("node")
    outages.down("node", "connect", OSError("cut as well, and noticed late"), "blocking connection", since=opened)
    assert said == ["error", "recovered"]
    assert not outages.open


def test_what_began_after_a_recovery_is_another_outage() -> None:
    outages, said = noted()
    outages.down("node", "connect", OSError("cut"))
    outages.up("node")
    outages.down("node", "connect", OSError("refused"), since=time.monotonic())
    assert said == ["error", "recovered", "error"]


def test_the_recovery_of_one_node_is_not_that_of_another() -> None:
    outages, said = noted()
    opened = time.monotonic()
    outages.down("one", "connect", OSError("cut"))
    outages.up("one")
    outages.down("other", "connect", OSError("cut"), since=opened)
    assert said == ["error", "recovered", "error"]
    assert outages.nodes() == ["other"]


def test_an_outage_ends_with_its_last_cause() -> None:
    outages, said = noted()
    outages.down("node", "connect", OSError("cut"))
    outages.down("node", "command", OSError("out of memory"), "addJob")
    outages.up("node")
    assert said == ["error"]
    outages.up("node", "addJob")
    assert said == ["error", "recovered"]

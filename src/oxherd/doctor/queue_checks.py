"""Checks of the queues that no event declares, and of the schedules."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import timedelta

from oxherd.doctor.facts import Facts
from oxherd.doctor.finding import Finding
from oxherd.wording import ago, clock

# A tick is made when the one before it begins, which a busy worker delays.
_LATE = timedelta(minutes=1)


def unknown_queues(facts: Facts) -> Iterator[Finding]:
    """A queue that holds something, that no event declares, and that no live worker of oxherd serves."""
    for queue in facts.unknown:
        holds = [
            f"{count:,} {what}"
            for count, what in (
                (queue.waiting, "waiting"),
                (queue.running, "running"),
                (queue.delayed, "delayed"),
                (queue.failed, "failed"),
                (queue.schedules, "schedules"),
            )
            if count
        ]
        if not holds or queue.workers:
            continue
        # Which event it is now is not guessed: a wrong move is hard to undo.
        move = shlex.join(["oxherd", "move", facts.target, queue.name, "EVENT"])
        yield Finding(
            "unknown queue",
            f"the queue {queue.name} holds {', '.join(holds)}, and no event of this herd declares it",
            f"if its event was renamed: {move}; if it is another program's, leave it",
            "If its event was renamed, move what waits to the new name; if it is another program's, leave it.",
            queue=queue.name,
        )


def stopped_schedules(facts: Facts) -> Iterator[Finding]:
    """A schedule whose next tick is long past; of a paused event it is the pause that counts."""
    rows = {row.name: row for row in facts.events}
    for schedule in facts.schedules:
        info, row = schedule.info, rows.get(schedule.event)
        if info.next is None or info.next > facts.now - _LATE or (row is not None and row.paused_queues):
            continue
        remedy = f"oxherd check {facts.target} tells whether it can be read; declare or store it again"
        if row is None or not row.workers:
            remedy = f"oxherd worker {facts.target}: no worker of {schedule.event} is alive to go on with it"
        yield Finding(
            "schedule",
            f"{schedule.event}: the schedule {info.name} has stopped; its tick of {clock(info.next)} "
            f"({ago(info.next, facts.now)}) has not begun",
            remedy,
            "Start a worker for its event." if row is None or not row.workers else "Store or declare it again.",
            event=schedule.event,
        )

"""Checks of the events: why what waits does not begin, and what fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from oxherd.admin import EventRow
from oxherd.doctor.facts import MOST_FAILURES, Facts
from oxherd.doctor.finding import Finding
from oxherd.wording import describe_rate, duration

# So many of one key held back are worth a line.
_FLOOD = 100


def no_worker(facts: Facts) -> Iterator[Finding]:
    """An event that waits, and that no live worker processes."""
    for row in facts.events:
        if not row.workers and facts.waits(row):
            yield Finding(
                "no worker",
                f"{row.name}: {_what_waits(row)}, and no live worker of oxherd processes it",
                f"oxherd worker {facts.target} (oxherd workers {facts.target} lists those that are alive)",
                "Start a worker for it.",
                event=row.name,
            )


def paused(facts: Facts) -> Iterator[Finding]:
    """A paused event, or one whose pause has not reached all of its queues."""
    for row in facts.events:
        if not row.paused_queues:
            continue
        part = "" if row.paused_queues == len(row.queues) else f" on {row.paused_queues} of {len(row.queues)} shards"
        yield Finding(
            "paused",
            f"{row.name}: paused{part}; {_what_waits(row)}",
            f"oxherd resume {facts.target} {row.name}",
            "Resume it once the reason is gone.",
            event=row.name,
        )


def rate(facts: Facts) -> Iterator[Finding]:
    """An event that waits for its rate, or for somebody else's."""
    for row in facts.events:
        until = row.limited_until
        if not row.waiting or until is None or until <= facts.now:
            continue
        rest = duration((until - facts.now).total_seconds())
        head = f"{row.name}: {_what_waits(row)}; none begins for another {rest}"
        limit = row.limits.rate
        if limit is None:
            yield Finding(
                "rate",
                f"{head}, since a handler raised RateLimited",
                "wait for that, or ask for more where the handler was limited",
                event=row.name,
            )
        else:
            takes = duration(row.waiting / limit.count * limit.per_ms / 1000)
            yield Finding(
                "rate",
                f"{head}: its rate is {describe_rate(limit)}, by which they take {takes}",
                f"oxherd limits {facts.target} {row.name} --rate N/SECONDS (none ends it)",
                "Raise or end its rate, or wait.",
                event=row.name,
            )


def max_running(facts: Facts) -> Iterator[Finding]:
    """An event that waits, and runs as often at once as it may."""
    for row in facts.events:
        most = row.limits.max_running
        if row.waiting and most is not None and row.running >= most:
            yield Finding(
                "max running",
                f"{row.name}: {_what_waits(row)}; {row.running:,} run, as many as max_running allows",
                f"oxherd limits {facts.target} {row.name} --max-running N (none ends it)",
                "Raise or end it, or wait.",
                event=row.name,
            )


def flood(facts: Facts) -> Iterator[Finding]:
    """A key that holds back many: it is paused, or gets more than its limits let through."""
    for key in facts.keys:
        if key.held < _FLOOD or key.waiting * 2 < key.of:
            continue
        why = "it is paused" if key.paused else "its limits hold them back"
        yield Finding(
            "flood",
            f"{key.event}: some {key.waiting:,} of {key.of:,} that wait have one key, and {why}",
            f"oxherd show {facts.target} {key.example} tells of one; then resume the key or cancel them, or give every "
            "key more (await event.set_limits(per_key=...))",
            "Give every key more, resume the key, or cancel them.",
            event=key.event,
            example=key.example,
        )


def failures(facts: Facts) -> Iterator[Finding]:
    """What has failed for good within the hour, by its most frequent error."""
    for event, found in facts.failures.items():
        total = found.by_type.total()
        kind, count = found.by_type.most_common(1)[0]
        said = f"at least {total:,}" if total >= MOST_FAILURES else f"{total:,}"
        of = "all" if count == total else f"{count:,} of them"
        yield Finding(
            "failures",
            f"{event}: {said} failed within the hour, {of} with {kind}",
            f"oxherd show {facts.target} {found.example} tells of one; then oxherd retry {facts.target} {event}, or "
            "discard",
            "See what they say; retry them once it is mended, or discard them.",
            event=event,
            example=found.example,
        )


def lock(facts: Facts) -> Iterator[Finding]:
    """Runs longer than their lock, of events whose lock was lost before: a run that cannot keep it."""
    # A worker that has lost one may list it for some seconds still.
    lost = {run.id: run for run in facts.long_runs if run.story.stalls}
    for event, count in Counter(run.event for run in lost.values()).items():
        run = next(run for run in lost.values() if run.event == event)
        runs = "1 run lasts" if count == 1 else f"{count:,} runs last"
        yield Finding(
            "lock",
            f"{event}: {runs} longer than lock={run.lock:g}, whose workers were lost before "
            f"({run.id}: {run.story.stalls}x, and runs for {duration(run.seconds)})",
            "raise lock= above what the handler takes without an await, or make it a def handler, run in a thread",
            event=event,
            example=run.id,
        )


def _what_waits(row: EventRow) -> str:
    oldest = "" if row.oldest_seconds is None else f", the oldest for {duration(row.oldest_seconds)}"
    delayed = f", {row.delayed:,} delayed" if row.delayed else ""
    return f"{row.waiting:,} waiting{oldest}{delayed}"

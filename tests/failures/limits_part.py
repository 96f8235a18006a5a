"""An event of a history at random that is limited, as a whole or by key, and what must hold of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oxherd import Limits, PerKey, Rate
from tests.failures.history_part import RESTS, Entry, OrdersPart, Part, Position
from tests.failures.unique_part import UniquePart, key_of
from tests.harness import until

LEAVES = ("completed", "failed", "delayed", "waiting", "stalled")
# A key's expiry and the event stream's clock may differ by so many milliseconds.
SLACK = 2

Scope = tuple[int | None, Rate | None]


@dataclass(frozen=True)
class Change:
    """Other limits, which came between two positions of the event stream, after a time in milliseconds."""

    before: Position
    after: Position
    asked_ms: float
    limits: Limits


class LimitsPart(Part):
    """What a limited event can be told besides, and its judge; to be mixed with one that emits."""

    limits: Limits
    changes: list[Change]

    def begin_limits(self, limits: Limits) -> None:
        """Note what is declared, which is written before anything begins."""
        self.limits = limits
        self.changes = [Change((0, 0), (0, 0), 0, limits)]
        self.keys_paused_at: dict[str, Position] = {}
        self.key_pauses: list[tuple[str, Position, Position]] = []

    async def limit(self, name: str, limit: Any) -> None:
        if len(self.changes) == 1:
            # The first worker's start would write over them.
            await until(self._are_declared, deadline=60)
        before, asked_ms = await self.position(), time.time() * 1000
        await self.event.set_limits(**{name: limit})
        self.limits = replace(self.limits, **{name: limit})
        self.changes.append(Change(before, await self.position(), asked_ms, self.limits))

    async def pause_key(self, key: str) -> None:
        await self.event.pause(key=key)
        if key not in self.keys_paused_at:
            self.keys_paused_at[key] = await self.position()

    async def resume_key(self, key: str) -> None:
        if key in self.keys_paused_at:
            self.key_pauses.append((key, self.keys_paused_at.pop(key), await self.position()))
        await self.event.resume(key=key)

    async def settle(self) -> None:
        for key in list(self.keys_paused_at):
            await self.resume_key(key)
        await super().settle()

    async def judge(self) -> None:
        """Check each begin against the limits in force; and that what has not begun before begins in its order."""
        assert await self.event.limits() == self.limits
        entries = await self.stream()
        self._judge_begins("as a whole", entries, lambda limits: (limits.max_running, limits.rate))
        if self.limits_keys:
            by_key = self._by_key(entries)
            for key, its in by_key.items():
                self._judge_begins(f"key {key}", its, lambda limits: key_scope(limits.per_key))
                self._judge_order(f"key {key}", its)
            for key, paused, resumed in self.key_pauses:
                begun = [each for each in by_key[key] if each.event == "active" and paused < each.position <= resumed]
                assert not begun, f"{self.name}: {begun} of {key}, paused from {paused} to {resumed}"
        else:
            self._judge_order("as a whole", entries)
        await super().judge()

    @property
    def limits_keys(self) -> bool:
        return self.changes[0].limits.per_key is not None

    def _judge_begins(self, what: str, entries: list[Entry], scope: Callable[[Limits], Scope]) -> None:
        """Never more at once, or in a window, than a limit in force allows; nothing in a rest of this scope."""
        running, windows, rests, shortened_at = set[str](), Windows(), 0.0, 0.0
        keys_rest = self.limits_keys and what == "as a whole"
        for index, entry in enumerate(entries):
            case = f"{self.name}, {what}: {entry} with {running} running, after {self.changes}, of {entries}"
            if entry.event == "active":
                assert entry.position[0] >= rests - SLACK, f"rests until {rests}; {case}"
                running.add(entry.job)
                in_force = self._in_force(entry.position)
                scopes = [scope(change.limits) for change in in_force]
                assert any(most is None or len(running) <= most for most, _ in scopes), case
                for change, (_, rate) in zip(in_force, scopes, strict=True):
                    if change.asked_ms > shortened_at:
                        windows.shorten(change.asked_ms, rate)
                        shortened_at = change.asked_ms
                assert windows.count(entry.position[0], [rate for _, rate in scopes]), f"{windows.states}; {case}"
            elif entry.event in LEAVES and entry.job in running:
                running.discard(entry.job)
                seconds = self._rest_of(entry.job, entries[: index + 2])
                if entry.event == "waiting" and seconds and not keys_rest:
                    rests = max(rests, entry.position[0] + seconds * 1000)

    def _judge_order(self, what: str, entries: list[Entry]) -> None:
        added = list(dict.fromkeys(each.job for each in entries if each.event == "added"))
        begun = list(dict.fromkeys(each.job for each in entries if each.event == "active"))
        assert begun == [job for job in added if job in begun], f"{self.name}, {what}: {begun} of {added}, by {entries}"

    def _rest_of(self, job: str, entries: Sequence[Entry]) -> float:
        """For how long it makes its scope rest by leaving the run that began last, which is its first."""
        if sum(each.event == "active" and each.job == job for each in entries) != 1:
            return 0
        if any(each.event == "stalled" and each.job == job for each in entries):
            return 0
        first = [run.number for run in self.runs() if run.id == job and run.what == "began" and run.fence == 1]
        return RESTS.get(str(self.payloads[first[0]]["kind"]), 0) if first else 0

    def _by_key(self, entries: list[Entry]) -> dict[str, list[Entry]]:
        keys = {run.id: str(self.payloads[run.number]["key"]) for run in self.runs()}
        found = defaultdict[str, list[Entry]](list)
        for entry in entries:
            if entry.job in keys:
                found[keys[entry.job]].append(entry)
        return found

    def _in_force(self, position: Position) -> list[Change]:
        """Those changes of which one was in force there."""
        found: list[Change] = []
        for change in self.changes:
            if position > change.after:
                found = [change]
            elif position > change.before:
                found.append(change)
        return found

    async def _are_declared(self) -> bool:
        return await self.event.limits() == self.limits


class Windows:
    """Which window a rate may be in: earliest and latest end of each that is possible, and how many it has counted."""

    def __init__(self) -> None:
        self.states: set[tuple[float, float, int]] = {(0, 0, 0)}

    def count(self, at: float, rates: list[Rate | None]) -> bool:
        """Count a begin by one of these rates; returns False if none allows it."""
        found = set[tuple[float, float, int]]()
        for earliest, latest, used in self.states:
            for rate in rates:
                if rate is None:
                    found.add((earliest, latest, used))
                    continue
                if at <= latest and used < rate.count:
                    found.add((earliest, latest, used + 1))
                if at >= earliest:
                    found.add((at + rate.per_ms - SLACK, at + rate.per_ms + SLACK, 1))
        self.states = found or self.states
        return bool(found)

    def shorten(self, at: float, rate: Rate | None) -> None:
        """A rate is set: no window lasts longer than its own would."""
        if rate is not None:
            self.states = {(min(earliest, at + rate.per_ms), latest, used) for earliest, latest, used in self.states}


def key_scope(per_key: PerKey | None) -> Scope:
    return (None, None) if per_key is None else (per_key.max_running, per_key.rate)


def options_of(limits: Limits) -> str:
    """The source of a worker's declaration."""
    by_key = "" if limits.per_key is None else "key=lambda payload: str(payload['key']),"
    return f"{by_key} rate={limits.rate}, max_running={limits.max_running}, per_key={limits.per_key}"


def declared_of(limits: Limits) -> dict[str, Any]:
    return vars(limits) | ({} if limits.per_key is None else {"key": key_of})


class LimitedOrders(LimitsPart, OrdersPart):
    """Events of which each stands for itself, limited."""

    def __init__(self, name: str, limits: Limits) -> None:
        super().__init__(name, options_of(limits), **declared_of(limits))
        self.begin_limits(limits)


class LimitedUnique(LimitsPart, UniquePart):
    """Unique events that are limited by their keys."""

    def __init__(self, rule: str, per_key: PerKey) -> None:
        limits = Limits(per_key=per_key)
        super().__init__(rule, options_of(limits), f"keyed.{rule}", per_key=per_key)
        self.begin_limits(limits)

"""`oxherd check`: validates a herd's declarations, its server, and what is stored there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from oxherd.app import Oxherd
from oxherd.bullmq.inspection import server_facts, stored_schedules
from oxherd.bullmq.pausing import is_paused
from oxherd.bullmq.shards import shard_queues
from oxherd.cli.herd_loader import load_herd
from oxherd.cli.output import write_line
from oxherd.errors import ConfigError, OxherdError, ServerError
from oxherd.redis.client import ScriptError
from oxherd.redis.topology import SLOTS


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    verdict: Verdict
    detail: str


def run(target: str) -> int:
    """Print every finding; returns 1 if one is wrong, else 0."""
    findings = asyncio.run(_check(load_herd(target)))
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        write_line(f"{finding.verdict:<8}{finding.subject:<{width}}  {finding.detail}")
    return 1 if any(finding.verdict is Verdict.WRONG for finding in findings) else 0


async def _check(herd: Oxherd) -> list[Finding]:
    findings = [*_declarations(herd), *_keyrings(herd)]
    checks: list[Callable[[Oxherd], Awaitable[list[Finding]]]] = [_server, _events, _schedules]
    try:
        for check in checks:
            findings += await check(herd)
            if any(finding.verdict is Verdict.WRONG for finding in findings):
                break
    finally:
        await herd.close()
    return findings


def _declarations(herd: Oxherd) -> Iterator[Finding]:
    events = list(herd)
    if not events:
        yield Finding("events", Verdict.WRONG, "none is declared; decorate a function with @herd.event(...)")
        return
    yield Finding("events", Verdict.OK, f"{len(events)} declared: {', '.join(event.name for event in events)}")
    without = [event.name for event in events if event.handler is None]
    if without:
        remedy = "a worker of this herd does not process them unless their modules are imported"
        yield Finding("handlers", Verdict.WARNING, f"none for {', '.join(without)}; {remedy}")


def _keyrings(herd: Oxherd) -> Iterator[Finding]:
    for event in herd:
        keyring = event.declaration.payload.sealer.keyring
        if keyring is None:
            continue
        try:
            current, *others = keyring.names
        except ConfigError as error:
            yield Finding(f"seal {event.name}", Verdict.WRONG, str(error))
        else:
            note = f"; opened by {', '.join(others)} too" if others else ""
            yield Finding(f"seal {event.name}", Verdict.OK, f"{current} seals{note}")


async def _server(herd: Oxherd) -> list[Finding]:
    try:
        backend = await herd.backend()
    except ServerError as error:
        return [Finding("server", Verdict.WRONG, str(error))]
    try:
        for event in herd:
            backend.queue(event.declaration)
        facts = await server_facts(backend.client)
    except (OxherdError, ScriptError) as error:
        return [Finding("server", Verdict.WRONG, str(error))]
    findings = [Finding("server", Verdict.OK, f"reachable: {backend.client.url}")]
    version = f"{facts.software} {'.'.join(map(str, facts.version))}"
    if facts.version < (6, 2):
        findings.append(Finding("version", Verdict.WRONG, f"{version}; 6.2 or later is needed"))
    else:
        findings.append(Finding("version", Verdict.OK, version))
    if facts.eviction in ("noeviction", None):
        findings.append(Finding("eviction", Verdict.OK, facts.eviction or "not reported"))
    else:
        remedy = "set maxmemory-policy noeviction, or Redis drops events"
        findings.append(Finding("eviction", Verdict.WARNING, f"{facts.eviction}; {remedy}"))
    if facts.slots == SLOTS:
        findings.append(Finding("slots", Verdict.OK, f"{SLOTS} of {SLOTS} covered"))
    elif facts.slots is not None:
        findings.append(Finding("slots", Verdict.WRONG, f"{facts.slots} of {SLOTS} covered; no node serves the others"))
    return findings


async def _events(herd: Oxherd) -> list[Finding]:
    """Count each event's jobs by state, over all of its queues."""
    backend = await herd.backend()
    findings: list[Finding] = []
    for event in herd:
        declaration = event.declaration
        most = 1
        try:
            queues = [backend.queue(declaration)]
            if declaration.own_queue:
                most = await backend.shard_registry(declaration).most()
                queues = [backend.queue_named(name) for name in shard_queues(event.name, most)]
            total: Counter[str] = Counter()
            for queue in queues:
                total.update(await queue.counts())
            paused = sum([await is_paused(queue) for queue in queues])
        except ScriptError as error:
            findings.append(Finding(f"event {event.name}", Verdict.WRONG, str(error)))
            continue
        waiting = total["wait"] + total["prioritized"] + total["paused"]
        counts = f"{waiting} waiting, {total['active']} active, {total['delayed']} delayed, {total['failed']} failed"
        if paused:
            counts += ", paused" if paused == len(queues) else f", paused on {paused} of {len(queues)} shards"
        where = "" if declaration.own_queue else f"; all of the queue {declaration.queue!r}"
        if most > 1:
            where = f"; {declaration.shards} shards" + (f", {most} served" if most > declaration.shards else "")
        findings.append(Finding(f"event {event.name}", Verdict.OK, counts + where))
    return findings


async def _schedules(herd: Oxherd) -> list[Finding]:
    backend = await herd.backend()
    findings: list[Finding] = []
    for event in herd:
        for name, fault in await stored_schedules(backend.queue(event.declaration)):
            verdict = Verdict.WRONG if fault else Verdict.OK
            findings.append(Finding(f"schedule {event.name} {name}", verdict, fault or "valid"))
    return findings or [Finding("schedules", Verdict.OK, "none stored")]

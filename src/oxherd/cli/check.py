"""`oxherd check`: what would go wrong, before it does."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from oxherd.app import Oxherd
from oxherd.bullmq.inspection import server_facts, stored_schedules
from oxherd.bullmq.shards import shard_queues
from oxherd.cli.herd_loader import load_herd
from oxherd.errors import ConfigError, OxherdError, ServerError
from oxherd.redis.client import ScriptError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `ok`, `warning` or `wrong`, and what was found."""

    what: str
    state: str
    found: str


def run(target: str) -> int:
    """Print what was found; 1 where something is wrong, else 0."""
    herd = load_herd(target)
    findings = asyncio.run(_look(herd))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        sys.stdout.write(f"{finding.state:<8}{finding.what:<{width}}  {finding.found}\n")
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


async def _look(herd: Oxherd) -> list[Finding]:
    findings = [_declared(herd), *_keyrings(herd)]
    looks: list[Callable[[Oxherd], Awaitable[list[Finding]]]] = [_server, _events, _schedules]
    try:
        for look in looks:
            findings += await look(herd)
            if any(finding.state == "wrong" for finding in findings):
                break
    finally:
        await herd.close()
    return findings


def _declared(herd: Oxherd) -> Finding:
    events = list(herd)
    if not events:
        return Finding("events", "wrong", "none is declared; decorate a function with @herd.event(...)")
    without = [event.name for event in events if event.handler is None]
    note = f"; without a handler here: {', '.join(without)}" if without else ""
    return Finding("events", "ok", f"{len(events)} declared: {', '.join(event.name for event in events)}{note}")


def _keyrings(herd: Oxherd) -> Iterator[Finding]:
    for event in herd:
        keyring = event.declaration.payload.sealer.keyring
        if keyring is None:
            continue
        try:
            current, *others = keyring.names
        except ConfigError as error:
            yield Finding(f"seal {event.name}", "wrong", str(error))
        else:
            found = f"{current} seals" + (f"; opened by {', '.join(others)} too" if others else "")
            yield Finding(f"seal {event.name}", "ok", found)


async def _server(herd: Oxherd) -> list[Finding]:
    try:
        backend = await herd.backend()
    except ServerError as error:
        return [Finding("server", "wrong", str(error))]
    try:
        for event in herd:
            backend.queue(event.declaration)
        facts = await server_facts(backend.client)
    except (OxherdError, ScriptError) as error:
        return [Finding("server", "wrong", str(error))]
    findings = [Finding("server", "ok", f"reachable: {backend.client.url}")]
    old = facts.version < (6, 2)
    version = f"{facts.software} {'.'.join(map(str, facts.version))}"
    findings.append(Finding("version", "wrong" if old else "ok", version + ("; 6.2 or later is needed" if old else "")))
    evicts = facts.eviction not in ("noeviction", None)
    remedy = "; set maxmemory-policy noeviction, or Redis drops events" if evicts else ""
    findings.append(Finding("eviction", "warning" if evicts else "ok", f"{facts.eviction or 'not told'}{remedy}"))
    if facts.slots is not None:
        whole = facts.slots == 16384
        note = "" if whole else "; the others are served by no node"
        findings.append(Finding("slots", "ok" if whole else "wrong", f"{facts.slots} of 16384 covered{note}"))
    return findings


async def _events(herd: Oxherd) -> list[Finding]:
    """How many of each event are in which state, on all of its queues together."""
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
        except ScriptError as error:
            findings.append(Finding(f"event {event.name}", "wrong", str(error)))
            continue
        waiting = total["wait"] + total["prioritized"]
        found = f"{waiting} waiting, {total['active']} active, {total['delayed']} delayed, {total['failed']} failed"
        where = "" if declaration.own_queue else f"; all of the queue {declaration.queue!r}"
        if most > 1:
            where = f"; {declaration.shards} shards" + (f", {most} served" if most > declaration.shards else "")
        findings.append(Finding(f"event {event.name}", "ok", found + where))
    return findings


async def _schedules(herd: Oxherd) -> list[Finding]:
    backend = await herd.backend()
    findings: list[Finding] = []
    for event in herd:
        for name, wrong in await stored_schedules(backend.queue(event.declaration)):
            found = wrong or "valid"
            findings.append(Finding(f"schedule {event.name} {name}", "wrong" if wrong else "ok", found))
    return findings or [Finding("schedules", "ok", "none stored")]

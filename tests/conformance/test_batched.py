"""add_many and finish_many leave the same data as BullMQ's scripts, on random histories."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from uuid import uuid4

import pytest

from oxherd.bullmq.job import Job, NewJob
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.queue import BullQueue, finish_options
from oxherd.bullmq.replies import Fetched, Refusal
from oxherd.redis.client import CallState, Client
from oxherd.redis.outage import Outages
from oxherd.redis.url import parse_url

LOCK_MS = 600_000  # longer than any test takes on a busy machine: the keys are compared, locks included
KEEP_NONE = {"count": 0}


class Side:
    """One of the two ways to add and finish, with its own keys."""

    def __init__(self, client: Client, name: str, *, batched: bool) -> None:
        self.queue = BullQueue(client, QueueKeys(name, "{q}"), batched=batched)
        self.many = self.queue.finish_many
        self.running: dict[str, Job] = {}
        self.left_to_bullmq: set[str] = set()

    async def add(self, jobs: list[NewJob], *, at_once: bool) -> None:
        """Add jobs singly in the same turn, or as `emit_many` does."""
        deadline = asyncio.get_running_loop().time() + 10
        if at_once:
            await asyncio.gather(*(self.queue.add(job, deadline=deadline) for job in jobs))
            return
        for batch in self.queue.batches(jobs):
            await self.queue.add_all(batch, deadline=deadline, state=CallState())

    async def finish(self, jobs: list[Job], results: list[bytes], fetch_next: list[bool]) -> list[Any]:
        replies = await asyncio.gather(*map(self._finish, jobs, results, fetch_next))
        for job, reply in zip(jobs, replies, strict=True):
            if isinstance(reply, Fetched):
                del self.running[job.id]
                if reply.job is not None:
                    self.running[reply.job.id] = reply.job
        return [
            (a.job.id if a.job else None, a.limited_ms, bool(a.delayed_until_ms)) if isinstance(a, Fetched) else a
            for a in replies
        ]

    async def _finish(self, job: Job, result: bytes, fetch_next: bool) -> Fetched | Refusal:
        if self.many is not None:
            reply = await self.many.finish(job, result, LOCK_MS, fetch_next=fetch_next, running=60)
            if reply is not None:
                return reply
        options = finish_options(job, keep=KEEP_NONE, attempts=3, lock_ms=LOCK_MS)
        return await self.queue.finish(job, "completed", result, options, fetch_next=fetch_next)

    async def fetch(self, token: str) -> str | None:
        fetched = await self.queue.fetch(token, LOCK_MS)
        if fetched.job is None:
            return None
        self.running[fetched.job.id] = fetched.job
        return fetched.job.id

    async def snapshot(self) -> dict[str, Any]:
        """Every key and its value, without times."""
        client, keys = self.queue.client, self.queue.keys
        found: dict[str, Any] = {}
        for raw in await client.call(keys.slot, "KEYS", keys.base.replace("{", "\\{") + "*"):
            key = raw.decode()
            if key in (keys.stalled_check, keys.limiter):
                continue  # they expire
            kind = (await client.call(keys.slot, "TYPE", key)).decode()
            found[key.removeprefix(keys.base)] = await self._value(key, kind)
        return found

    async def _value(self, key: str, kind: str) -> Any:
        client, slot = self.queue.client, self.queue.keys.slot
        if kind == "list":
            return await client.call(slot, "LRANGE", key, 0, -1)
        if kind == "zset":
            value = await client.call(slot, "ZRANGE", key, 0, -1, "WITHSCORES")
            # The score of a delayed job, and of its marker, holds the time at which it was added.
            return value[::2] if key.endswith(("delayed", "marker")) else value
        if kind == "set":
            return sorted(await client.call(slot, "SMEMBERS", key))
        if kind == "hash":
            flat = await client.call(slot, "HGETALL", key)
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            # With `once`, BullMQ's script keeps the option in the job; ours sets only the deduplication key.
            options = json.loads(fields.pop(b"opts", b"{}"))
            found = {k: v for k, v in options.items() if k != "de"}
            moments = (b"processedOn", b"timestamp", b"deid", b"ox:runs")  # or hold one
            return found | {k: v for k, v in fields.items() if k not in moments}
        if kind == "stream":
            entries = await client.call(slot, "XRANGE", key, "-", "+")
            return [
                dict(zip(e[::2], e[1::2], strict=True)) | ({b"delay": b""} if b"delay" in e else {}) for _, e in entries
            ]
        return await client.call(slot, "GET", key)


@pytest.mark.parametrize("seed", range(12))
async def test_both_ways_leave_the_same_keys_and_values(seed: int, standalone: str) -> None:
    chance = random.Random(seed)
    client = Client(parse_url(standalone), Outages(lambda _: None))
    name = uuid4().hex[:10]
    ours, theirs = Side(client, f"a{name}", batched=True), Side(client, f"b{name}", batched=False)
    sides = (ours, theirs)
    added: list[str] = []
    try:
        for step in range(200):
            await _one_step(chance, step, sides, added)
            assert list(ours.running) == list(theirs.running)
        assert await ours.snapshot() == await theirs.snapshot()
    finally:
        await client.close()


async def _one_step(chance: random.Random, step: int, sides: tuple[Side, Side], added: list[str]) -> None:
    kinds = ["add", "fetch", "finish", "wake", "look", "break", "pause", "mark"]
    kind = chance.choices(kinds, [6, 3, 6, 4, 1, 1, 0.5, 1])[0]
    if kind == "add":
        delay = chance.choice([0, 0, 0, 1, 60_000])
        priority = chance.choice([0, 0, 0, 1, 2])
        ids = [f"job-{step}-{n}" for n in range(chance.choice([1, 1, 3, 60]))]
        # Some are stored, or were.
        ids += chance.sample(ids, chance.randint(0, 1)) + chance.sample(list(sides[0].running), bool(sides[0].running))
        ids += chance.sample(added, min(len(added), chance.choice([0, 0, 5])))
        added += ids
        once_ms = chance.choice([0, 0, 600_000, 700_000])
        options: dict[str, Any] = chance.choice([{"attempts": 3}, {"attempts": 2, "lifo": True}, {}])
        names = chance.choice([["x"], ["x", "y"]])
        metadata = ["", "", '{"traceparent":"00-\\/\\""}', "\N{SNOWMAN}"]
        jobs = [
            NewJob(
                i, chance.choice(names), b'{"a":1}', options, delay, priority, once_ms, metadata=chance.choice(metadata)
            )
            for i in ids
        ]
        if once_ms and (delay or priority):
            sides[0].left_to_bullmq.update(ids)  # which names the key in the job
        at_once = chance.random() < 0.5
        for side in sides:
            await side.add(jobs, at_once=at_once)
        if delay == 1:
            await asyncio.sleep(0.003)  # due on both sides before the next step
    elif kind == "fetch":
        assert len({await side.fetch(f"token-{step}") for side in sides}) == 1
    elif kind == "finish" and sides[0].running:
        ids = chance.sample(list(sides[0].running), min(len(sides[0].running), chance.randint(1, 5)))
        # What is left to BullMQ is completed after its batch: alone, the order is the same.
        left = sides[0].left_to_bullmq | {job.id for job in sides[0].running.values() if job.damage}
        ids = sorted(left.intersection(ids))[:1] or ids
        results = [b"%d" % chance.randint(0, 99) for _ in ids]
        fetch_next = [chance.random() < 0.8 for _ in ids]
        replies = [await side.finish([side.running[i] for i in ids], results, fetch_next) for side in sides]
        assert replies[0] == replies[1]
    elif kind == "wake":
        for side in sides:
            await side.queue.client.call(side.queue.keys.slot, "ZPOPMIN", side.queue.keys.marker)
    elif kind == "look":
        for side in sides:
            await side.queue.client.call(side.queue.keys.slot, "DEL", side.queue.keys.stalled_check)
            await side.queue.check_stalled(1, {}, 60_000, await side.queue.server_ms())
    elif kind == "break" and sides[0].running:
        await _break(chance, sides)
    elif kind == "mark" and added:
        # A deduplication key that has expired, or one without expiry, left by a job that is gone.
        job_id = chance.choice(added)
        command = ("DEL",) if await sides[0].queue.holds(job_id) else chance.choice([("DEL",), ("SET", job_id)])
        for side in sides:
            keys = side.queue.keys
            await side.queue.client.call(keys.slot, command[0], keys.deduplication(job_id), *command[1:])
    elif kind == "pause":
        command = chance.choice([("HSET", "paused", "1"), ("HDEL", "paused"), ("HSET", "max", "1000"), ("HDEL", "max")])
        for side in sides:
            keys = side.queue.keys
            await side.queue.client.call(keys.slot, command[0], keys.meta, *command[1:])
            await side.queue.client.call(keys.slot, "HSETNX", keys.meta, "duration", "1000")


async def _break(chance: random.Random, sides: tuple[Side, Side]) -> None:
    """A running job's lock expired or was taken, it left `active`, it is gone, or it has a parent or children."""
    job_id = chance.choice(list(sides[0].running))
    how = chance.randrange(6)
    if how > 3:
        sides[0].left_to_bullmq.add(job_id)
    for side in sides:
        keys = side.queue.keys
        job = keys.job(job_id)
        commands: list[tuple[Any, ...]] = [
            ("DEL", job + ":lock"),
            ("SET", job + ":lock", "another"),
            ("LREM", keys.active, 0, job_id),
            ("DEL", job),
            (
                "EVAL",
                "redis.call('HSET', KEYS[1], 'deid', 'once') redis.call('SET', KEYS[2], ARGV[1])",
                2,
                job,
                keys.base + "de:once",
                job_id,
            ),
            ("SADD", job + ":dependencies", "child"),
        ]
        await side.queue.client.call(keys.slot, *commands[how])

"""One BullMQ queue: a method for each script, with keys and arguments as BullMQ 6 sends them, and a few commands."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from oxherd.bullmq.batched_adds import BatchedAdds, batches
from oxherd.bullmq.batched_finishes import BatchedFinishes
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import FIELDS, STALLED_REASON, Job, NewJob, job_of, worker_of
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.replies import Fetched, Refusal, fetched
from oxherd.bullmq.scripts import checked_folder, script
from oxherd.bullmq.unique_adds import add_unique, duplicates
from oxherd.redis.client import Argument, CallState, Client, Script, ScriptError, pack_script
from oxherd.redis.retry import retry

# The lock of a job that is moved to `failed` in the same script.
_QUARANTINE_MS = 1_000


class BullQueue:
    """A queue's scripts. `batched`: jobs that are added or completed in the same turn go with one script of ours."""

    def __init__(self, client: Client, keys: QueueKeys, *, batched: bool = False) -> None:
        checked_folder()  # here, and not in a loop that would be started anew
        self.client = client
        self.keys = keys
        self.finish_many = BatchedFinishes(client, keys) if batched else None
        self._add_many = BatchedAdds(client, keys) if batched else None
        k = keys
        self._fetch_keys = (
            k.wait, k.active, k.prioritized, k.events, k.stalled, k.limiter, k.delayed, k.paused, k.meta, k.pc,
            k.marker,
        )  # fmt: skip
        # moveToFinished takes the same keys, and four more.
        self._finish_keys = self._fetch_keys[:10]

    async def add(self, job: NewJob, *, deadline: float, state: CallState | None = None) -> str | None:
        """Add a job, unless one of the same id is stored or was added within its `once_ms`, or `unique` forbids.

        Returns the id of the job whose duplicate it is; None if it was added. Retried through outages until `deadline`
        (monotonic seconds). Scripts: addStandardJob (or add_many), addDelayedJob, addPrioritizedJob; add_unique.

        Raises:
            RedisUnavailable, ScriptError: as `Client.call`; `state` says whether it may be stored all the same.
            Unconfirmed: a durable job was not confirmed by `deadline`, or cannot be.
        """
        state = state or CallState()
        if job.by_key:
            return (await self.add_all([job], deadline=deadline, state=state)).get(job.id)
        many = self._add_many
        if many is not None and job.is_plain:
            first = await retry(partial(many.add, job, state, deadline), deadline=deadline, state=state)
            return None if first == job.id and state.repeated else first
        added, arguments = self._add_arguments(job)
        confirm_by = deadline if job.durable else None
        call = partial(self.client.script, self.keys.slot, added, arguments, state=state, confirm_by=confirm_by)
        reply = await retry(call, deadline=deadline, state=state)
        return duplicates([job], [0, reply], state).get(job.id) if reply else None

    def add_blocking(self, job: NewJob, seconds: float) -> bool:
        """Add a job from a thread without an event loop, which it blocks; returns whether it was added.

        Only a plain one whose id is new. Raises Unanswered: it is left to `add`, unless this job has no such way.
        """
        if self._add_many is None or job.durable or job.by_key or not job.is_plain:
            return False
        packed = pack_script(script("add_many"), self._add_many.arguments([job]))
        return self.client.ask(self.keys.slot, packed, seconds) is None

    def _add_arguments(self, job: NewJob) -> tuple[Script, tuple[Argument, ...]]:
        k = self.keys
        options, now = job.options, job.emitted_ms or now_ms()
        if job.delay_ms:
            # To a moment, it is counted now: the job may have waited for others that were sent before it.
            options = options | {"delay": max(1, job.due_ms - now) if job.due_ms else job.delay_ms}
        if job.priority:
            options = options | {"priority": job.priority}
        if job.metadata:
            options = options | {"tm": job.metadata}
        deduplication_key = None
        if job.once_ms:
            options = options | {"de": {"id": job.id, "ttl": job.once_ms}}
            deduplication_key = k.deduplication(job.id)
        packed = pack([k.base, job.id, job.name, now, None, None, None, None, deduplication_key])
        if job.delay_ms:
            name, keys = "add_delayed", (k.marker, k.meta, k.id, k.delayed, k.completed, k.events)
        elif job.priority:
            name = "add_prioritized"
            keys = (k.marker, k.meta, k.id, k.prioritized, k.delayed, k.completed, k.active, k.events, k.pc)
        else:
            name = "add_standard"
            keys = (k.wait, k.paused, k.meta, k.id, k.completed, k.delayed, k.active, k.events, k.marker)
        return script(name), (*keys, packed, job.data, pack(options))

    def batches(self, jobs: list[NewJob]) -> list[list[NewJob]]:
        """Split jobs into batches for `add_all`, each of which is added whole or not at all."""
        by_key = bool(jobs) and jobs[0].by_key
        if not by_key and (self._add_many is None or any(job.delay_ms or job.priority for job in jobs)):
            return [[job] for job in jobs]
        return list(batches(jobs))

    async def add_all(self, jobs: list[NewJob], *, deadline: float, state: CallState) -> dict[str, str]:
        """Add one of `batches`, in order; retried and raises as `add`.

        Returns the ids of those that are duplicates, each with the id of the job that it is one of.
        """
        if jobs[0].by_key:
            return await add_unique(self.client, self.keys, jobs, deadline=deadline, state=state)
        many = self._add_many
        if many is None or len(jobs) == 1:
            first = await self.add(jobs[0], deadline=deadline, state=state)
            return {} if first is None else {jobs[0].id: first}
        reply = await retry(lambda: many.add_all(jobs, state, deadline), deadline=deadline, state=state)
        return duplicates(jobs, reply, state) if reply else {}

    async def fetch(self, token: str, lock_ms: int, *, by_key: bool = False) -> Fetched:
        """Begin the next job, locked with `token` for `lock_ms` milliseconds, in one attempt. Script: moveToActive.

        `by_key`: the next that the limits of its key allow.
        """
        arguments = self._fetch_arguments(token, lock_ms, now_ms())
        return fetched(await self.client.script(self.keys.slot, _fetch_script(by_key), arguments), token)

    def fetch_later(self, token: str, lock_ms: int, *, by_key: bool = False) -> bytes:
        """As `fetch`: the packed call, for a connection on which it waits before it runs, by the server's clock."""
        return pack_script(_fetch_script(by_key), self._fetch_arguments(token, lock_ms, 0))

    async def fetch_in_order(self, token: str, lock_ms: int) -> Fetched:
        """As `fetch`, but only if nothing on the queue runs or waits for its retry."""
        arguments = (*self._fetch_arguments(token, lock_ms, now_ms()), self.keys.held)
        return fetched(await self.client.script(self.keys.slot, script("fetch_in_order"), arguments), token)

    def _fetch_arguments(self, token: str, lock_ms: int, now: int) -> tuple[Argument, ...]:
        packed = pack({"token": token, "lockDuration": lock_ms, "limiter": None, "name": worker_of(token)})
        return (*self._fetch_keys, self.keys.base, now, packed)

    async def finish(
        self,
        job: Job,
        target: str,
        value: bytes,
        options: bytes,
        *,
        fetch_next: bool,
        fields: list[Any] | None = None,
        message: bytes = b"",
    ) -> Fetched | Refusal:
        """Move a job to `completed` or `failed`, and begin the next one if asked to. Script: moveToFinished.

        `value` is the result's JSON or the reason of the failure; `options` are from `finish_options`. Refused if its
        parent cannot be notified, unless `job.forgets_parent`. `message` goes to the outbox in the same step.
        """
        detach = "1" if job.forgets_parent else ""
        arguments = self._finish_arguments(
            self.keys.job(job.id), job.id, target, value, options, fetch_next, fields, detach, message
        )
        reply = await self.client.script(self.keys.slot, script("finish"), arguments)
        if isinstance(reply, int) and reply < 0:
            return Refusal(reply)
        return fetched(reply, job.token)

    def _finish_arguments(
        self, job_key: str | bytes, job_id: str | bytes, target: str, value: bytes, options: bytes, fetch_next: bool,
        fields: list[Any] | None, detach_or_damage: str, message: bytes,
    ) -> tuple[Argument, ...]:  # fmt: skip
        k = self.keys
        completed = target == "completed"
        clustered = self.client.url.topology == "cluster"
        return (
            *self._finish_keys, k.completed if completed else k.failed, job_key,
            f"{k.base}metrics:{target}", k.marker, job_id, now_ms(), "returnvalue" if completed else "failedReason",
            value, target, "1" if fetch_next else "", k.base, options, pack(fields) if fields else "",
            "1" if clustered else "", detach_or_damage, message,
        )  # fmt: skip

    async def retry_now(self, job: Job, fields: list[Any]) -> int:
        """Put a failed job back on the queue at once; costs an attempt. Script: retryJob."""
        push = "RPUSH" if job.options.get("lifo") else "LPUSH"
        return int(await self.client.script(self.keys.slot, script("retry"), self._retry_arguments(job, fields, push)))

    async def retry_in_order(self, job: Job, fields: list[Any], delay_ms: int) -> int:
        """Put a failed job back as the queue's next, held for `delay_ms` milliseconds; costs an attempt."""
        arguments = (*self._retry_arguments(job, fields, "RPUSH"), self.keys.held, delay_ms)
        return int(await self.client.script(self.keys.slot, script("retry_in_order"), arguments))

    def _retry_arguments(self, job: Job, fields: list[Any], push: str) -> tuple[Argument, ...]:
        k = self.keys
        return (
            k.active, k.wait, k.paused, k.job(job.id), k.meta, k.events, k.delayed, k.prioritized, k.pc, k.marker,
            k.stalled, k.base, now_ms(), push, job.id, job.token, pack(fields), job.limit_key,
        )  # fmt: skip

    async def delay(
        self, job: Job, delay_ms: int, fields: list[Any], *, skip_attempt: bool = False, rest_ms: int = 0
    ) -> int:
        """Put a job back for `delay_ms` milliseconds; costs an attempt, unless skipped. Script: moveToDelayed.

        `rest_ms`: for how long its key begins nothing.
        """
        k = self.keys
        arguments = (
            k.marker, k.active, k.prioritized, k.delayed, k.job(job.id), k.events, k.meta, k.stalled, k.wait,
            k.limiter, k.pc, k.base, str(now_ms()), job.id, job.token, delay_ms, "1" if skip_attempt else "0",
            pack(fields) if fields else "", "", "", job.limit_key, rest_ms,
        )  # fmt: skip
        return int(await self.client.script(k.slot, script("delay"), arguments))

    async def requeue(self, job_id: str | bytes, token: str, limit_key: str = "", runs: str = "") -> int:
        """Put a job back at the head of the queue; costs no attempt. Script: moveJobFromActiveToWait.

        `runs`: what its field `ox:runs` becomes; empty if that stays.
        """
        arguments = self.requeue_arguments(job_id, token, limit_key, runs)
        reply = int(await self.client.script(self.keys.slot, script("requeue"), arguments))
        if reply >= 0:
            # BullMQ sets no marker for a prioritized job here: idle workers would sleep on.
            await self.wake()
        return reply

    async def requeue_in_order(self, job: Job, delay_ms: int, runs: str = "") -> int:
        """Put a job back as the queue's next, held for `delay_ms` milliseconds; costs no attempt."""
        arguments = (*self.requeue_arguments(job.id, job.token, job.limit_key, runs), self.keys.held, delay_ms)
        return int(await self.client.script(self.keys.slot, script("requeue_in_order"), arguments))

    async def requeue_at_rest(self, job: Job, rest_ms: int, runs: str = "") -> int:
        """Put a job back at the head of the queue, which rests for `rest_ms` milliseconds; costs no attempt."""
        arguments = (*self.requeue_arguments(job.id, job.token, job.limit_key, runs), rest_ms)
        return int(await self.client.script(self.keys.slot, script("requeue_at_rest"), arguments))

    async def rest(self, rest_ms: int) -> None:
        """Begin no job for `rest_ms` milliseconds; a longer rest stays. Script: rest."""
        k = self.keys
        await self.client.script(k.slot, script("rest"), (k.marker, k.base, rest_ms))

    def requeue_arguments(
        self, job_id: str | bytes, token: str, limit_key: str = "", runs: str = ""
    ) -> tuple[Argument, ...]:
        """Keys and arguments of moveJobFromActiveToWait, what the job's limits go by, and its runs."""
        k = self.keys
        return (
            k.active, k.wait, k.stalled, k.paused, k.meta, k.limiter, k.prioritized, k.marker, k.events,
            job_id, token, k.job(job_id) if isinstance(job_id, str) else k.base.encode() + job_id, limit_key, runs,
        )  # fmt: skip

    async def holds(self, job_id: str, *, marked: bool = False) -> bool:
        """Whether a job is stored, in any state; with `marked` also if its deduplication key is. Command: EXISTS."""
        keys = [self.keys.job(job_id), *([self.keys.deduplication(job_id)] if marked else [])]
        # One by one: a slot that is being moved replies TRYAGAIN to several.
        return any(await asyncio.gather(*(self.client.call(self.keys.slot, "EXISTS", key) for key in keys)))

    async def ping(self) -> None:
        """Check that the queue's server replies; raises as `Client.call`. Command: PING."""
        await self.client.call(self.keys.slot, "PING")

    async def wake(self) -> None:
        """Set the marker that wakes an idle worker. Command: ZADD."""
        await self.client.call(self.keys.slot, "ZADD", self.keys.marker, 0, "0")

    async def retake_locks(self, jobs: list[Job], lock_ms: int) -> list[bool]:
        """Renew the locks of running jobs, or take them back if they expired and nobody has begun the jobs since.

        Returns for each job whether it is still ours. Script: retake_locks.
        """
        k = self.keys
        each: list[Argument] = []
        for job in jobs:
            each += (job.id, job.token, job.fence)
        replies = await self.client.script(
            k.slot, script("retake_locks"), (k.stalled, k.active, k.base, lock_ms, *each)
        )
        return [reply == 1 for reply in replies]

    async def server_ms(self) -> int:
        """The server's clock, in milliseconds since the Unix epoch. Command: TIME."""
        clock = await self.client.call(self.keys.slot, "TIME")
        return int(clock[0]) * 1000 + int(clock[1]) // 1000

    async def check_stalled(
        self, max_stalls: int, by_name: dict[str, int], every_ms: int, server_ms: int
    ) -> tuple[list[str], list[bytes]]:
        """Put stalled jobs back; returns their ids, and those of damaged ones, which stay active.

        A job's last stall counts only if it had just been begun alone (`mark_begin`), or for the third time beside
        others. `by_name` has the limits of events that allow fewer stalls than `max_stalls`.

        Script: moveStalledJobsToWait. It keeps the checks of all workers `every_ms` apart, and does nothing if it runs
        more than a second after `server_ms`.
        """
        k = self.keys
        arguments: list[Argument] = [
            k.stalled, k.wait, k.active, k.stalled_check, k.meta, k.paused, k.marker, k.events, k.repeat,
            max_stalls, k.base, now_ms(), every_ms, server_ms,
        ]  # fmt: skip
        for name, limit in by_name.items():
            arguments += (name, limit)
        stalled, damaged = await self.client.script(k.slot, script("check_stalled"), tuple(arguments))
        return [_text(job_id) for job_id in stalled], damaged

    async def forget_stalled(self, job: Job) -> None:
        """Remove the failure that BullMQ's check for stalled jobs has left in a job. Command: HDEL."""
        if job.deferred_failure == STALLED_REASON:
            await self.client.call(self.keys.slot, "HDEL", self.keys.job(job.id), "defa")

    async def mark_begin(self, job: Job, mark: str | None) -> bool:
        """Note how a job begins: "held", "alone" or "beside"; None removes the note. False if the job is not ours.

        Field of the job: `ox:begun`, its fence and the mark. Script: note.
        """
        return await self.note(job, "ox:begun", "" if mark is None else f"{job.fence} {mark}")

    async def note(self, job: Job, field: str, text: str) -> bool:
        """Set a field of a job, or remove it if the text is empty; False if the job is not ours. Script: note."""
        arguments = (self.keys.job(job.id), field, text, job.token, job.fence)
        return int(await self.client.script(self.keys.slot, script("note"), arguments)) >= 0

    async def read(self, job_id: bytes, token: str) -> Job:
        """A stored job, with the token of the lock that the caller has or takes. Command: HMGET."""
        values: list[bytes | None] = []
        with suppress(ScriptError):  # its key holds no hash
            values = await self.client.call(self.keys.slot, "HMGET", self.keys.base.encode() + job_id, *FIELDS)
        return job_of(job_id, values, token)

    async def quarantine(
        self, job: Job, damage: str, keep: dict[str, Any], message: bytes = b""
    ) -> tuple[str, bool] | None:
        """Move a job that makes BullMQ's scripts fail to `failed`, or just off the queue if its key holds no hash.

        `damage` says what is wrong with it; if empty, the script finds out. Returns what is wrong, and whether the job
        has a parent that cannot be notified; None if nothing is wrong, or another worker has it. `message` goes to the
        outbox in the same step. Script: quarantine.
        """
        options = finish_options(job, keep=keep, attempts=1, lock_ms=_QUARANTINE_MS)
        job_key = self.keys.base.encode() + job.raw_id
        arguments = self._finish_arguments(job_key, job.raw_id, "failed", b"", options, False, None, damage, message)
        reply = await self.client.script(self.keys.slot, script("quarantine"), arguments)
        return None if isinstance(reply, int) else (reply[0].decode(), reply[1] == 1)

    async def unclaimed(
        self, worker: str, tokens: set[str], running: set[bytes], lock_ms: int
    ) -> list[tuple[bytes, str]]:
        """Find the active jobs begun by calls whose replies were lost; returns (id, token of its lock) of each.

        Their lock is one of `tokens`, or has expired and `pb` names the worker, which does not run them; the latter are
        locked again. Script: unclaimed.
        """
        k = self.keys
        arguments = (k.active, k.base, worker, lock_ms, len(tokens), *tokens, *running)
        found = await self.client.script(k.slot, script("unclaimed"), arguments)
        return [(job_id, token.decode()) for job_id, token in found]

    async def progress(self, job: Job, value: bytes) -> int:
        """Store a job's progress, if the job is still ours. Script: updateProgress."""
        k = self.keys
        arguments = (k.job(job.id), k.events, k.meta, job.id, value, job.token, job.fence)
        return int(await self.client.script(k.slot, script("progress"), arguments))

    async def counts(self) -> dict[str, int]:
        """The number of jobs in each state. Script: getCounts."""
        states = ("wait", "active", "delayed", "prioritized", "paused", "completed", "failed")
        reply = await self.client.script(self.keys.slot, script("getCounts"), (self.keys.base, *states))
        return dict(zip(states, map(int, reply), strict=True))


def finish_options(job: Job, *, keep: dict[str, Any], attempts: int, lock_ms: int) -> bytes:
    """The packed options of moveToFinished; the next job is locked with the same token."""
    return pack(
        {
            "token": job.token,
            "name": worker_of(job.token),
            "keepJobs": keep,
            "limiter": None,
            "lockDuration": lock_ms,
            "attempts": attempts,
            "attemptsMade": job.attempts_made,
            "maxMetricsSize": "",
            **job.options.parent_policies,
        }
    )


def _fetch_script(by_key: bool) -> Script:
    return script("fetch_by_key" if by_key else "fetch_next")


def _text(job_id: bytes) -> str:
    return job_id.decode("utf-8", "backslashreplace")

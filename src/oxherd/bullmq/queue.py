"""One BullMQ queue: its scripts, with keys and arguments as BullMQ 6 sends them, and the few plain commands."""

from __future__ import annotations

import asyncio
from typing import Any

from oxherd.bullmq.batched_adds import BatchedAdds, batches
from oxherd.bullmq.batched_finishes import BatchedFinishes
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import STALLED_REASON, Job, NewJob, worker_of
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.replies import Fetched, Refusal, fetched
from oxherd.bullmq.scripts import (
    fetch_in_order,
    fetch_next,
    fresh_stalled_check,
    guarded,
    mark_begin,
    own_progress,
    quarantine,
    retake_locks,
    retry_in_order,
    script,
    unclaimed,
)
from oxherd.redis.client import Argument, CallState, Client, pack_script
from oxherd.redis.retry import retry


class BullQueue:
    """A queue's scripts, bound to its keys.

    `batched`: what is added, or completed, at the same moment goes together with one script of ours.
    """

    def __init__(self, client: Client, keys: QueueKeys, *, batched: bool = False) -> None:
        self.client = client
        self.keys = keys
        self.finish_many = BatchedFinishes(client, keys) if batched else None
        self._add_many = BatchedAdds(client, keys) if batched else None
        k = keys
        self._fetch_keys = (
            k.wait, k.active, k.prioritized, k.events, k.stalled, k.limiter, k.delayed, k.paused, k.meta, k.pc,
            k.marker,
        )  # fmt: skip
        # moveToFinished wants the same keys but for its last four.
        self._finish_keys = self._fetch_keys[:10]

    async def add(self, job: NewJob, *, deadline: float, attempts: CallState | None = None) -> None:
        """Add a job; the same id adds no second one while the first is stored, nor within the job's `once_ms`.

        Scripts: addStandardJob (or ours for several), addDelayedJob, addPrioritizedJob. Tried again through outages
        until `deadline` (monotonic seconds); a durable one raises `Unconfirmed` where it is not confirmed by then.
        """
        many = self._add_many
        if many is not None and not job.delay_ms and not job.priority:
            await retry(lambda: many.add(job, attempts, deadline), deadline=deadline, attempts=attempts)
            return
        k = self.keys
        options = job.options
        if job.delay_ms or job.priority:
            options = options | {"delay": job.delay_ms, "priority": job.priority}
        if job.metadata:
            options = options | {"tm": job.metadata}
        mark = None
        if job.once_ms:
            options = options | {"de": {"id": job.id, "ttl": job.once_ms}}
            mark = k.mark(job.id)
        packed = pack([k.base, job.id, job.name, now_ms(), None, None, None, None, mark])
        if job.delay_ms:
            name, keys = "addDelayedJob", (k.marker, k.meta, k.id, k.delayed, k.completed, k.events)
        elif job.priority:
            name = "addPrioritizedJob"
            keys = (k.marker, k.meta, k.id, k.prioritized, k.delayed, k.completed, k.active, k.events, k.pc)
        else:
            name = "addStandardJob"
            keys = (k.wait, k.paused, k.meta, k.id, k.completed, k.delayed, k.active, k.events, k.marker)
        arguments = (*keys, packed, job.data, pack(options))
        until = deadline if job.durable else None
        await self.client.persist(k.slot, guarded(name), arguments, deadline=deadline, attempts=attempts, until=until)

    def batches(self, jobs: list[NewJob]) -> list[list[NewJob]]:
        """Jobs in pieces for `add_all`, each of which is added whole or not at all."""
        if self._add_many is None or any(job.delay_ms or job.priority for job in jobs):
            return [[job] for job in jobs]
        return list(batches(jobs))

    async def add_all(self, jobs: list[NewJob], *, deadline: float, attempts: CallState) -> None:
        """Add one of `batches`, in order. As `add`."""
        many = self._add_many
        if many is None or len(jobs) == 1:
            await self.add(jobs[0], deadline=deadline, attempts=attempts)
        else:
            await retry(lambda: many.add_all(jobs, attempts, deadline), deadline=deadline, attempts=attempts)

    async def fetch(self, token: str, lock_ms: int) -> Fetched:
        """Begin the next job, locked with `token` for `lock_ms` milliseconds. Script: moveToActive; one attempt."""
        arguments = self._fetch_arguments(token, lock_ms, now_ms())
        return fetched(await self.client.script(self.keys.slot, fetch_next(), arguments), token)

    def fetch_later(self, token: str, lock_ms: int) -> bytes:
        """As `fetch`: the packed call, for a connection on which it waits before it runs, by the server's clock."""
        return pack_script(fetch_next(), self._fetch_arguments(token, lock_ms, 0))

    async def fetch_in_order(self, token: str, lock_ms: int) -> Fetched:
        """As `fetch`, but only where nothing of the queue runs or waits for its retry."""
        arguments = (*self._fetch_arguments(token, lock_ms, now_ms()), self.keys.held)
        return fetched(await self.client.script(self.keys.slot, fetch_in_order(), arguments), token)

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
    ) -> Fetched | Refusal:
        """Move a job to `completed` or `failed`, and begin the next one if asked to. Script: moveToFinished.

        `value` is the result's JSON or the reason of the failure; `options` come from `finish_options`. Where
        its parent cannot be told of its end, it is refused, unless it forgets that.
        """
        k = self.keys
        target_key = k.completed if target == "completed" else k.failed
        arguments: tuple[Argument, ...] = (
            *self._finish_keys,
            target_key,
            k.base + job.id,
            f"{k.base}metrics:{target}",
            k.marker,
            job.id,
            now_ms(),
            "returnvalue" if target == "completed" else "failedReason",
            value,
            target,
            "1" if fetch_next else "",
            k.base,
            options,
        )
        clustered = self.client.url.topology == "cluster"
        arguments = (
            *arguments, pack(fields) if fields else "", "1" if clustered else "", "1" if job.forgets_parent else "",
        )  # fmt: skip
        answer = await self.client.script(k.slot, guarded("moveToFinished"), arguments)
        if isinstance(answer, int) and answer < 0:
            return Refusal(answer)
        return fetched(answer, job.token)

    async def retry_now(self, job: Job, fields: list[Any]) -> int:
        """Put a failed job back on the queue without a wait, one attempt spent. Script: retryJob."""
        push = "RPUSH" if job.options.get("lifo") else "LPUSH"
        arguments = self._retry_arguments(job, fields, push)
        return int(await self.client.script(self.keys.slot, guarded("retryJob"), arguments))

    async def retry_in_order(self, job: Job, fields: list[Any], delay_ms: int) -> int:
        """Put a failed job back as the queue's next, which begins in `delay_ms` milliseconds; one attempt spent."""
        arguments = (*self._retry_arguments(job, fields, "RPUSH"), self.keys.held, delay_ms)
        return int(await self.client.script(self.keys.slot, retry_in_order(), arguments))

    def _retry_arguments(self, job: Job, fields: list[Any], push: str) -> tuple[Argument, ...]:
        k = self.keys
        return (
            k.active, k.wait, k.paused, k.job(job.id), k.meta, k.events, k.delayed, k.prioritized, k.pc, k.marker,
            k.stalled, k.base, now_ms(), push, job.id, job.token, pack(fields),
        )  # fmt: skip

    async def delay(self, job: Job, delay_ms: int, fields: list[Any], *, skip_attempt: bool = False) -> int:
        """Put a job back for `delay_ms` milliseconds; costs an attempt unless skipped. Script: moveToDelayed."""
        k = self.keys
        arguments = (
            k.marker, k.active, k.prioritized, k.delayed, k.job(job.id), k.events, k.meta, k.stalled, k.wait,
            k.limiter, k.pc, k.base, str(now_ms()), job.id, job.token, delay_ms, "1" if skip_attempt else "0",
            pack(fields) if fields else "", "", "",
        )  # fmt: skip
        return int(await self.client.script(k.slot, guarded("moveToDelayed"), arguments))

    async def requeue(self, job_id: str | bytes, token: str) -> int:
        """Put a job back at the head of the queue, without costing an attempt. Script: moveJobFromActiveToWait."""
        k = self.keys
        arguments = (
            k.active, k.wait, k.stalled, k.paused, k.meta, k.limiter, k.prioritized, k.marker, k.events,
            job_id, token, k.job(job_id) if isinstance(job_id, str) else k.base.encode() + job_id,
        )  # fmt: skip
        answer = int(await self.client.script(k.slot, guarded("moveJobFromActiveToWait"), arguments))
        if answer >= 0:
            # BullMQ sets no marker for a prioritized job here: idle workers would sleep on.
            await self.wake()
        return answer

    async def holds(self, job_id: str, *, marked: bool = False) -> bool:
        """Whether a job of that id is stored, in whatever state, or, if `marked` is asked for, was. Command: EXISTS."""
        keys = [self.keys.job(job_id), *([self.keys.mark(job_id)] if marked else [])]
        # One by one: a slot that moves answers TRYAGAIN to several.
        return any(await asyncio.gather(*(self.client.call(self.keys.slot, "EXISTS", key) for key in keys)))

    async def ping(self) -> None:
        """Ask the server that has the queue for a sign of life; raises as `Client.call`. Command: PING."""
        await self.client.call(self.keys.slot, "PING")

    async def wake(self) -> None:
        """Set the marker that wakes an idle worker."""
        await self.client.call(self.keys.slot, "ZADD", self.keys.marker, 0, "0")

    async def retake_locks(self, jobs: list[Job], lock_ms: int) -> list[bool]:
        """Renew the locks of running jobs, and take back those that ran out and that nobody has taken.

        Says for each job whether it is still ours. As BullMQ's extendLocks, but for the taking back.
        """
        k = self.keys
        each: list[Argument] = []
        for job in jobs:
            each += (job.id, job.token, job.fence)
        answers = await self.client.script(k.slot, retake_locks(), (k.stalled, k.active, k.base, lock_ms, *each))
        return [answer == 1 for answer in answers]

    async def server_ms(self) -> int:
        """The server's clock, in milliseconds since the Unix epoch. Command: TIME."""
        clock = await self.client.call(self.keys.slot, "TIME")
        return int(clock[0]) * 1000 + int(clock[1]) // 1000

    async def check_stalled(
        self, max_stalls: int, by_name: dict[str, int], every_ms: int, server_ms: int
    ) -> tuple[list[str], list[str]]:
        """Put back the jobs whose worker fell silent; answers their ids, and those of damaged ones that were set aside.

        A stall that would be a job's last counts only where it had just been begun alone (`mark_begin`), or for the
        third time beside others. `by_name` has the most stalls of events that allow less than `max_stalls`.

        Script: moveStalledJobsToWait. It spaces the checks of all workers by `every_ms`, and does nothing where it
        arrives later than a second after `server_ms`.
        """
        k = self.keys
        arguments: list[Argument] = [
            k.stalled, k.wait, k.active, k.stalled_check, k.meta, k.paused, k.marker, k.events, k.repeat,
            max_stalls, k.base, now_ms(), every_ms, server_ms,
        ]  # fmt: skip
        for name, most in by_name.items():
            arguments += (name, most)
        stalled, aside = await self.client.script(k.slot, fresh_stalled_check(), tuple(arguments))
        return [_text(job_id) for job_id in stalled], [_text(job_id) for job_id in aside]

    async def forget_stalled(self, job: Job) -> None:
        """Remove what BullMQ's check for stalled jobs wrote for a job that is to fail. Command: HDEL."""
        if job.deferred_failure == STALLED_REASON:
            await self.client.call(self.keys.slot, "HDEL", self.keys.job(job.id), "defa")

    async def mark_begin(self, job: Job, *, alone: bool | None) -> bool:
        """Note that a job is begun by itself, and whether alone; None takes that back.

        False where the job is not ours any more. Field of the job: `ox:begun`, its fence and `alone` or `beside`.
        """
        mark = "" if alone is None else f"{job.fence} {'alone' if alone else 'beside'}"
        arguments = (self.keys.job(job.id), mark, job.token, job.fence)
        return int(await self.client.script(self.keys.slot, mark_begin(), arguments)) >= 0

    async def quarantine(self, job_id: bytes, token: str, damage: str = "") -> tuple[str, bool] | None:
        """Take a job that `token` began, and on which BullMQ's scripts fail, off the queue, to failed if it is a hash.

        `damage` is what is wrong with it; without, the script looks. Answers what was wrong, and whether the job has a
        parent, which is not told; None where nothing is wrong.
        """
        k = self.keys
        arguments = (k.active, k.base, now_ms(), job_id, token, damage)
        answer = await self.client.script(k.slot, quarantine(), arguments)
        return None if isinstance(answer, int) else (answer[0].decode(), answer[1] == 1)

    async def unclaimed(
        self, worker: str, tokens: set[str], running: set[bytes], lock_ms: int
    ) -> list[tuple[bytes, str]]:
        """The active jobs that calls whose answers were lost have begun: (id, token that holds its lock) each.

        They hold one of `tokens`, or their lock has run out and `pb` names the worker, which does not run them; the
        locks of these are taken again. Script: ours.
        """
        k = self.keys
        arguments = (k.active, k.base, worker, lock_ms, len(tokens), *tokens, *running)
        found = await self.client.script(k.slot, unclaimed(), arguments)
        return [(job_id, token.decode()) for job_id, token in found]

    async def progress(self, job: Job, value: bytes) -> int:
        """Store a job's progress, unless the job is another worker's. Script: updateProgress."""
        k = self.keys
        arguments = (k.job(job.id), k.events, k.meta, job.id, value, job.token, job.fence)
        return int(await self.client.script(k.slot, own_progress(), arguments))

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state. Script: getCounts."""
        states = ("wait", "active", "delayed", "prioritized", "paused", "completed", "failed")
        answer = await self.client.script(self.keys.slot, script("getCounts"), (self.keys.base, *states))
        return dict(zip(states, map(int, answer), strict=True))


def finish_options(job: Job, *, keep: dict[str, Any], attempts: int, lock_ms: int) -> bytes:
    """The packed options of moveToFinished; they hold the lock's token, also for the job that is begun next."""
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


def _text(job_id: bytes) -> str:
    return job_id.decode("utf-8", "backslashreplace")

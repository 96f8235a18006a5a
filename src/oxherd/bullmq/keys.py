"""The names of a queue's keys, as BullMQ spells them."""

from __future__ import annotations

from base64 import b64encode

from oxherd.redis.client import key_slot


class QueueKeys:
    """A queue's keys under `prefix:queue:`, and the cluster slot that they share."""

    def __init__(self, prefix: str, queue: str) -> None:
        self.queue = queue
        self.base = f"{prefix}:{queue}:"
        self.slot = key_slot(self.base)
        self._client_name = f"{prefix}:{b64encode(queue.encode()).decode()}"
        self.wait = self.base + "wait"
        self.active = self.base + "active"
        self.paused = self.base + "paused"
        self.prioritized = self.base + "prioritized"
        self.delayed = self.base + "delayed"
        self.completed = self.base + "completed"
        self.failed = self.base + "failed"
        self.stalled = self.base + "stalled"
        self.stalled_check = self.base + "stalled-check"
        self.limiter = self.base + "limiter"
        self.meta = self.base + "meta"
        self.pc = self.base + "pc"
        self.marker = self.base + "marker"
        self.events = self.base + "events"
        self.id = self.base + "id"
        self.repeat = self.base + "repeat"
        self.cancels = self.base + "cancels"  # ours: ids of jobs that run and are to be cancelled
        # Ours: the workers that are alive, by their last heartbeat. No job of Node's may have an id with a colon.
        self.workers = self.worker("seen")
        self.held = self.base + "held"  # ours: while it exists, an ordered queue waits for the retry of this job
        self.rest = (
            self.base + "rest"
        )  # ours: while it exists, the event begins no run, since a limit elsewhere is reached
        # Ours: what a schedule's record has no field for, the last ticks, and the versions' schedules in code.
        self.schedules = self.base + "schedules"
        self.ticks = self.base + "ticks"
        self.declared = self.base + "declared"
        # Ours: of events with limits for each key, the keys that hold something back, and those that are paused.
        self.limited_keys = self.base + "keys"
        self.paused_keys = self.base + "keys:paused"
        self.outbox = self.base + "outbox"  # ours: messages that a relay sends to other queues

    def worker_connection(self, worker_id: str) -> str:
        """The name of a worker's waiting connection: BullMQ's `getWorkers` lists those, boards show the id."""
        return f"{self._client_name}:w:{worker_id}"

    def job(self, job_id: str) -> str:
        """The hash of a job."""
        return self.base + job_id

    def answer(self, job_id: str) -> str:
        """Ours: what became of a job that was asked for, for a minute."""
        return f"{self.base}answer:{job_id}"

    def worker(self, worker_id: str) -> str:
        """The record of a worker, ours."""
        return f"{self.base}worker:{worker_id}"

    def deduplication(self, job_id: str) -> str:
        """BullMQ's deduplication key of a job's own id; it may outlive the job."""
        return f"{self.base}de:{job_id}"


def has_hash_tag(text: str) -> bool:
    """Whether `text` has a hash tag: something between the first `{` and the next `}`."""
    start = text.find("{")
    return start >= 0 and text.find("}", start + 1) > start + 1

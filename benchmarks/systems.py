"""What is compared: each system's exact packages, how its worker is started, and the settings it is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PEERS = Path(__file__).parent / "peers"

Mode = Literal["one", "gather", "bulk", "one-sync", "threads-sync", "bulk-sync"]

_ASYNC: tuple[Mode, ...] = ("one", "gather")
_BULLMQ = (("LLEN", "wait"), ("LLEN", "active"), ("ZCARD", "prioritized"), ("ZCARD", "delayed"), ("ZCARD", "failed"))

_CELERY = (
    *("-m", "celery", "-A", "app", "worker", "--concurrency", "{concurrency}", "--loglevel", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_HUEY = ("huey.bin.huey_consumer", "app.huey", "--workers", "{concurrency}", "--no-periodic", "--quiet")


@dataclass(frozen=True)
class System:
    """A system under measurement.

    `worker` is its command after the interpreter, with {concurrency}, unless `single_worker` (concurrency 1) or
    `io_worker` (handlers that wait) stands in; `left` are the Redis commands whose numbers add up to the events that
    are still queued, running or failed. Only those `on_every_server` drain on another server than the bundled one.
    """

    key: str
    title: str
    kind: Literal["checkout", "python", "node"]
    packages: tuple[str, ...]
    worker: tuple[str, ...]
    settings: tuple[str, ...]
    left: tuple[tuple[str, str], ...]
    emits: tuple[Mode, ...]
    folder: str = ""
    single_worker: tuple[str, ...] = ()
    io_worker: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    concurrencies: tuple[int, ...] = (1, 10, 100)
    io_concurrency: int = 1000
    only_latency: bool = False
    own_log: bool = False
    on_every_server: bool = False

    @property
    def home(self) -> Path:
        """The folder of its scripts."""
        return PEERS / (self.folder or self.key)

    @property
    def most(self) -> int:
        """The highest of its concurrencies for handlers that do nothing."""
        return max(self.concurrencies)

    def worker_arguments(self, concurrency: int, handler: str) -> list[str]:
        """The worker's command after the interpreter."""
        worker = self.worker
        if handler == "io":
            worker = self.io_worker or worker
        elif concurrency == 1:
            worker = self.single_worker or worker
        return [argument.replace("{concurrency}", str(concurrency)) for argument in worker]


def _keys(prefix: str, parts: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((command, prefix + part) for command, part in parts)


OXHERD_EMITS: tuple[Mode, ...] = ("one", "gather", "bulk", "one-sync", "threads-sync", "bulk-sync")

SYSTEMS: tuple[System, ...] = (
    System(
        "oxherd",
        "oxherd, with its log",
        "checkout",
        (),
        ("-m", "oxherd", "worker", "app:herd", "--log-format", "json"),
        (
            "all defaults (its own dependencies: hiredis, uvloop)",
            "its begin and end of each event written as JSON to a file, both counted",
        ),
        _keys("bull:{noop}:", _BULLMQ),
        OXHERD_EMITS,
        own_log=True,
        on_every_server=True,
    ),
    System(
        "oxherd-quiet",
        "oxherd, log off",
        "checkout",
        (),
        ("app.py", "worker"),
        ("as above, by herd.run() in a script that turns the log off",),
        _keys("bull:{noop}:", _BULLMQ),
        (),
        folder="oxherd",
        on_every_server=True,
    ),
    System(
        "bullmq-node",
        "bullmq (Node)",
        "node",
        ("bullmq@6.7.0", "ioredis@5.11.1"),
        ("app.cjs", "worker"),
        ("completed jobs removed", "no log (it has none)"),
        _keys("bull:noop:", _BULLMQ),
        ("one", "gather", "bulk"),
        on_every_server=True,
    ),
    System(
        "bull-node",
        "bull (Node)",
        "node",
        ("bull@4.16.5",),
        ("app.cjs", "worker"),
        ("completed jobs removed", "no log (it has none)"),
        _keys("bull:noop:", (("LLEN", "wait"), ("LLEN", "active"), ("ZCARD", "delayed"), ("ZCARD", "failed"))),
        ("one", "gather", "bulk"),
        on_every_server=True,
    ),
    System(
        "taskiq",
        "taskiq",
        "python",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0", "hiredis==3.5.0", "uvloop==0.23.0", "orjson==3.13.0"),
        (
            *("-m", "taskiq", "worker", "app:broker", "--workers", "1", "--log-level", "WARNING", "--no-parse"),
            *("--max-async-tasks", "{concurrency}", "--max-prefetch", "{concurrency}"),
        ),
        (
            "RedisStreamBroker, no result backend, uvloop, orjson, --no-parse, prefetch as the concurrency",
            "its log at WARNING",
        ),
        (("XLAG", "taskiq"),),
        _ASYNC,
    ),
    System(
        "bullmq-python",
        "bullmq (Python)",
        "python",
        ("bullmq==3.4.4", "redis==8.1.0", "hiredis==3.5.0", "uvloop==0.23.0"),
        ("app.py", "worker"),
        ("completed jobs removed, uvloop, hiredis", "no log (it has none)"),
        _keys("bull:noop:", _BULLMQ),
        (*_ASYNC, "bulk"),
    ),
    System(
        "arq",
        "arq",
        "python",
        ("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0", "uvloop==0.23.0"),
        ("app.py", "worker"),
        ("keep_result=0, poll_delay=0.001 (default 0.5), uvloop, hiredis", "no log set up: WARNING"),
        (("ZCARD", "arq:queue"),),
        _ASYNC,
    ),
    System(
        "saq",
        "saq",
        "python",
        ("saq[redis]==0.26.4", "typing-extensions==4.16.0", "redis==7.4.1", "hiredis==3.5.0", "uvloop==0.23.0"),
        ("app.py", "worker"),
        ("jobs are not kept (ttl=-1), max_concurrent_ops=100, uvloop, hiredis", "no log set up: WARNING"),
        (("ZCARD", "saq:default:incomplete"),),
        _ASYNC,
    ),
    System(
        "streaq",
        "streaq",
        "python",
        ("streaq==7.2.0", "coredis==6.9.0", "uvloop==0.23.0"),
        ("app.py", "worker"),
        ("results are not kept (ttl=0), silent tasks, uvloop", "no log set up: WARNING"),
        (("XLEN", "streaq:default:queues:normal"),),
        (*_ASYNC, "bulk"),
    ),
    System(
        "dramatiq",
        "dramatiq",
        "python",
        ("dramatiq[redis]==2.2.1", "redis==8.1.0", "hiredis==3.5.0"),
        ("-m", "dramatiq", "app", "--processes", "1", "--threads", "{concurrency}", "--skip-logging"),
        (
            "1 process of as many threads as the concurrency, worker_timeout 5 ms (default 1 s), prefetch 200, hiredis",
            "no log set up",
        ),
        (("HLEN", "dramatiq:default.msgs"),),
        ("one-sync", "threads-sync"),
        io_concurrency=50,
        variables=(("dramatiq_worker_timeout", "5"), ("dramatiq_queue_prefetch", "200")),
    ),
    System(
        "rq",
        "rq",
        "python",
        ("rq==3.0.0", "redis==8.1.0", "hiredis==3.5.0"),
        ("app.py", "worker"),
        ("SimpleWorker (no fork), which runs one at a time; result_ttl=0, hiredis", "its log at WARNING"),
        (("LLEN", "rq:queue:noop"), ("ZCARD", "rq:wip:noop"), ("ZCARD", "rq:failed:noop")),
        ("one-sync", "threads-sync", "bulk-sync"),
        concurrencies=(1,),
        io_concurrency=1,
    ),
    System(
        "celery",
        "Celery",
        "python",
        ("celery[redis]==5.7.0", "redis==8.1.0", "hiredis==3.5.0", "gevent==26.9.0"),
        (*_CELERY, "--pool", "threads"),
        (
            "no result backend, rate limits off, prefetch 10 times the concurrency; without gossip, mingle, heartbeat",
            "the solo pool at concurrency 1, threads above, gevent for handlers that wait; hiredis",
            "its log at WARNING",
        ),
        (("LLEN", "celery"), ("HLEN", "unacked")),
        ("one-sync", "threads-sync"),
        single_worker=(*_CELERY, "--pool", "solo"),
        io_worker=(*_CELERY, "--pool", "gevent"),
    ),
    System(
        "huey",
        "huey",
        "python",
        ("huey==3.5.4", "redis==8.1.0", "hiredis==3.5.0", "gevent==26.9.0"),
        ("-m", *_HUEY, "--worker-type", "thread"),
        (
            "RedisHuey, which blocks rather than polls; results off; threads, greenlets for waiting handlers; hiredis",
            "its log at WARNING",
        ),
        (("LLEN", "huey.redis.noop"),),
        ("one-sync", "threads-sync"),
        io_concurrency=100,
        io_worker=("-m", "gevent.monkey", "--module", *_HUEY, "--worker-type", "greenlet"),
    ),
    System(
        "floor",
        "LPUSH to BLPOP",
        "checkout",
        (),
        ("app.py", "worker"),
        ("bare redis-py with hiredis on both sides: no queue at all",),
        (("LLEN", "noop"),),
        (),
        only_latency=True,
    ),
)


def named(keys: list[str]) -> list[System]:
    """The systems of those keys, in the table's order; all for an empty list."""
    return [system for system in SYSTEMS if not keys or system.key in keys]

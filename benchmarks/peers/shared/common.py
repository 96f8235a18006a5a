"""What the Python systems share: the counted handler, and a producer's modes.

A worker counts in `count.<pid>` of $BENCH_FOLDER, 8-byte numbers in a mapped file: how many events were handled, then,
where $BENCH_SAMPLES asks for them, microseconds from emit to handler. The payload is the emit's time in microseconds.
"""

import asyncio
import json
import mmap
import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

URL = os.environ["BENCH_URL"]
FOLDER = os.environ["BENCH_FOLDER"]
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "10"))
IO = os.environ.get("BENCH_HANDLER") == "io"
IO_SECONDS = 0.01
_SAMPLES = int(os.environ.get("BENCH_SAMPLES", "0"))

AT_ONCE = 100
BULK = 1000
THREADS = 8
WARM_PAUSE = 0.2  # seconds in which the worker handles the warming events

_view = None
_lock = threading.Lock()


def now_us():
    """The wall clock, which producer and worker share; exact also as a JavaScript number."""
    return time.time_ns() // 1000


def done(sent):
    """Count one event; `sent` is its payload."""
    late = now_us() - sent if _SAMPLES else 0
    with _lock:
        view = _view or _open()
        count = view[0]
        if count < _SAMPLES:
            view[1 + count] = late
        view[0] = count + 1


def _open():
    global _view
    descriptor = os.open(f"{FOLDER}/count.{os.getpid()}", os.O_RDWR | os.O_CREAT, 0o600)
    size = 8 * (1 + _SAMPLES)
    os.ftruncate(descriptor, size)
    _view = memoryview(mmap.mmap(descriptor, size)).cast("q")
    os.close(descriptor)
    return _view


def _after_fork():
    global _view, _lock
    _view, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

if IO:

    async def handle(sent):
        await asyncio.sleep(IO_SECONDS)
        done(sent)

    def handle_sync(sent):
        time.sleep(IO_SECONDS)
        done(sent)

else:

    async def handle(sent):
        done(sent)

    def handle_sync(sent):
        done(sent)


def run(coroutine):
    """`asyncio.run`, on uvloop where the environment has it."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)


class Producer:
    """How a system emits; a subclass has those of `one`, `bulk` (async), `one_sync`, `bulk_sync` that exist."""

    one = bulk = one_sync = bulk_sync = None

    async def open(self):
        pass

    async def close(self):
        pass

    def open_sync(self):
        pass

    def close_sync(self):
        pass


def produce(producer):
    """The command line of a producer.

    It is `fill N`, `rate MODE SECONDS`, `paced N SECONDS JITTER WARM` or `load N PER_SECOND WARM`. So many as WARM go
    before the N, none of which then waits until a connection is made.
    """
    mode, *rest = sys.argv[1:]
    by_loop = {
        "fill": producer.bulk or (producer.one and not producer.bulk_sync),
        "rate": not rest[0].endswith("-sync"),
        "paced": producer.one,
        "load": producer.one,
    }[mode]
    print(json.dumps(run(_async(producer, mode, rest)) if by_loop else _sync(producer, mode, rest)))


async def _async(producer, mode, rest):
    await producer.open()
    try:
        return await {"fill": _fill, "rate": _rate, "paced": _paced, "load": _load}[mode](producer, *rest)
    finally:
        await producer.close()


async def _together(producer, count):
    await asyncio.gather(*(producer.one(now_us()) for _ in range(count)))


async def _fill(producer, count):
    left = int(count)
    while left:
        some = min(left, BULK if producer.bulk else AT_ONCE)
        if producer.bulk:
            await producer.bulk([now_us()] * some)
        else:
            await _together(producer, some)
        left -= some
    return {"emitted": int(count)}


async def _rate(producer, way, seconds):
    async def step():
        if way == "one":
            await producer.one(now_us())
            return 1
        if way == "gather":
            await _together(producer, AT_ONCE)
            return AT_ONCE
        await producer.bulk([now_us()] * BULK)
        return BULK

    warm = await step() + await step()
    count, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < float(seconds):
        count += await step()
    return {"emitted": warm + count, "timed": count, "seconds": taken}


async def _warmed(producer, count):
    for _ in range(int(count)):
        await producer.one(now_us())
    await asyncio.sleep(WARM_PAUSE)


async def _paced(producer, count, seconds, jitter, warm):
    await _warmed(producer, warm)
    for _ in range(int(count)):
        await asyncio.sleep(float(seconds) + random.uniform(0, float(jitter)))
        await producer.one(now_us())
    return {"emitted": int(count)}


async def _load(producer, count, per_second, warm):
    await _warmed(producer, warm)
    total, sent, begun = int(count), 0, time.perf_counter()
    while sent < total:
        due = min(total, 1 + int((time.perf_counter() - begun) * float(per_second)))
        if due > sent:
            await _together(producer, min(due - sent, AT_ONCE))
            sent = min(due, sent + AT_ONCE)
        else:
            await asyncio.sleep(0.001)
    return {"emitted": total, "seconds": time.perf_counter() - begun}


def _sync(producer, mode, rest):
    producer.open_sync()
    try:
        return {"fill": _fill_sync, "rate": _rate_sync, "paced": _paced_sync, "load": _load_sync}[mode](producer, *rest)
    finally:
        producer.close_sync()


def _fill_sync(producer, count):
    left = int(count)
    while left:
        some = min(left, BULK)
        if producer.bulk_sync:
            producer.bulk_sync([now_us()] * some)
        else:
            for _ in range(some):
                producer.one_sync(now_us())
        left -= some
    return {"emitted": int(count)}


def _rate_sync(producer, way, seconds):
    if way == "threads-sync":
        return _rate_threads(producer, float(seconds))

    def step():
        if way == "one-sync":
            producer.one_sync(now_us())
            return 1
        producer.bulk_sync([now_us()] * BULK)
        return BULK

    warm = step() + step()
    count, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < float(seconds):
        count += step()
    return {"emitted": warm + count, "timed": count, "seconds": taken}


def _rate_threads(producer, seconds):
    """Of eight threads that emit one by one, once each has emitted its first."""
    together = threading.Barrier(THREADS + 1)

    def emit():
        producer.one_sync(now_us())
        together.wait()
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            producer.one_sync(now_us())
            count += 1
        return count

    with ThreadPoolExecutor(THREADS) as pool:
        counts = [pool.submit(emit) for _ in range(THREADS)]
        together.wait()
        begun = time.perf_counter()
        timed = sum(count.result() for count in counts)
    return {"emitted": THREADS + timed, "timed": timed, "seconds": time.perf_counter() - begun}


def _warmed_sync(producer, count):
    for _ in range(int(count)):
        producer.one_sync(now_us())
    time.sleep(WARM_PAUSE)


def _paced_sync(producer, count, seconds, jitter, warm):
    _warmed_sync(producer, warm)
    for _ in range(int(count)):
        time.sleep(float(seconds) + random.uniform(0, float(jitter)))
        producer.one_sync(now_us())
    return {"emitted": int(count)}


def _load_sync(producer, count, per_second, warm):
    _warmed_sync(producer, warm)
    total, begun = int(count), time.perf_counter()
    for sent in range(total):
        if (early := begun + sent / float(per_second) - time.perf_counter()) > 0.0005:
            time.sleep(early)
        producer.one_sync(now_us())
    return {"emitted": total, "seconds": time.perf_counter() - begun}

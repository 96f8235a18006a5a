"""`python -m benchmarks.outbox URL`: what an emit by way of the outbox takes of a transaction, and how long it is away.

`URL` is SQLAlchemy's of an empty database. Redis is a server of its own on this machine.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable

from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine
from sqlalchemy.orm import Session

from oxherd import Event, Oxherd
from oxherd.outbox import Outbox
from oxherd.servers.standalone import StandaloneServer

_ORDERS = Table("orders", MetaData(), Column("number", Integer, primary_key=True))
_TURNS = 5
_SECONDS = 2.0


def _rate(place: Callable[[int], object], numbers: list[int], outbox: Outbox) -> tuple[float, float]:
    """Transactions a second, in one thread, and milliseconds of the processor for each, in all threads."""
    done, end, used = 0, time.perf_counter() + _SECONDS, time.process_time()
    while time.perf_counter() < end:
        place(numbers.pop())
        done += 1
    outbox.flush_sync(60)
    return done / _SECONDS, (time.process_time() - used) / done * 1000


def _measure(url: str, redis: str) -> None:
    herd, engine = Oxherd(redis), create_engine(url)
    outbox = Outbox(herd, engine)
    outbox.create_table_sync()
    _ORDERS.create(engine)
    placed = herd.declare("order.placed", int)
    numbers = list(range(1_000_000))

    def order(number: int, *, emit: bool) -> None:
        with Session(engine) as session, session.begin():
            session.execute(_ORDERS.insert(), {"number": number})
            if emit:
                outbox.emit(session, placed, number)

    cases: dict[str, Callable[[int], object]] = {
        "the order alone": lambda number: order(number, emit=False),
        "with an emit by the outbox": lambda number: order(number, emit=True),
        "with emit_sync after the commit": lambda number: (order(number, emit=False), placed.emit_sync(number)),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(_TURNS):
        for name, place in cases.items():
            found[name].append(_rate(place, numbers, outbox))
    for name, turns in found.items():
        rate, used = (statistics.median(each) for each in zip(*turns, strict=True))
        print(f"{name}: {rate:.0f} transactions a second, {used:.2f} ms of the processor each")
    _latency(herd, outbox, placed, engine)
    outbox.close_sync()
    herd.close_sync()
    engine.dispose()


def _latency(herd: Oxherd, outbox: Outbox, placed: Event[int, None], engine: Engine) -> None:
    began: dict[int, float] = {}
    heard = threading.Event()

    @placed.process
    async def note(number: int) -> None:
        began[number] = time.perf_counter()
        heard.set()

    async def work(loop_ends: asyncio.Event) -> None:
        async with herd:
            await herd.start()
            await loop_ends.wait()

    async def both() -> None:
        ends = asyncio.Event()
        working = asyncio.create_task(work(ends))
        await asyncio.to_thread(_time_each, outbox, placed, engine, began, heard)
        ends.set()
        await working

    asyncio.run(both())


def _time_each(
    outbox: Outbox, placed: Event[int, None], engine: Engine, began: dict[int, float], heard: threading.Event
) -> None:
    for name in ("outbox", "emit_sync"):
        taken: list[float] = []
        for number in range(-200, 0):
            time.sleep(0.05)  # what follows at once waits to be sent together
            heard.clear()
            began.pop(number, None)
            start = time.perf_counter()
            if name == "outbox":
                with Session(engine) as session:
                    outbox.emit(session, placed, number)
                    session.commit()
                    start = time.perf_counter()
            else:
                placed.emit_sync(number)
            while number not in began:
                heard.wait(0.001)
            taken.append((began[number] - start) * 1000)
        print(
            f"from the {name} to the begin: median {statistics.median(taken):.1f} ms, 95 % {sorted(taken)[190]:.1f} ms"
        )


if __name__ == "__main__":
    with StandaloneServer() as server:
        _measure(sys.argv[1], server.url)

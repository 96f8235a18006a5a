"""Users' code that both checkers accept; `assert_type` says what they must make of it. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Unpack, assert_type
from uuid import UUID

from pydantic import BaseModel, SecretStr

from oxherd import (
    Allow,
    CallNext,
    Context,
    Cron,
    Depends,
    EmitError,
    Emitted,
    Event,
    EventError,
    EventOptions,
    Every,
    Failure,
    Health,
    Keep,
    Keyring,
    Mask,
    Oxherd,
    Process,
    Retry,
    StopReport,
    SyncCallNext,
)
from oxherd.event import Decorator
from oxherd.resources.lifespan import Lifespan

herd = Oxherd("redis://localhost", prefix="bull", emit_timeout=timedelta(seconds=5), stop_timeout=10)
keys = Keyring({"2026-11": b"0" * 32})


class Order(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")]
    card: SecretStr


def customer(order: Order) -> int:
    return order.order_id


# -- handlers


@herd.event("a")
async def alone(order: Order) -> str:
    return order.email


@herd.event("b")
async def with_context(order: Order, ctx: Context) -> int:
    assert_type(ctx.id, UUID)
    assert_type(ctx.attempt, int)
    await ctx.progress(50)
    return ctx.fence


@herd.event("c", run_in="thread")
def in_thread(order: Order) -> list[str]:
    return [order.email]


@herd.event("d", run_in="process")
def in_process(order: Order, ctx: Context) -> None:
    ctx.log.info("charging %s", ctx.id)


@herd.event("d.limited", run_in=Process(max_events=1000, max_memory="512 MiB"))
def in_limited_process(order: Order) -> None: ...


@herd.event("e")
async def with_optional_context(order: Order, ctx: Context | None = None) -> bytes:
    return b""


@herd.event("f")
def of_a_dict(values: dict[str, int]) -> None: ...


@herd.event("m")
async def told(failure: Failure[Order]) -> bool:
    assert_type(failure.payload, Order)
    assert_type(failure.error, EventError)
    assert_type(failure.caused_by, UUID | None)
    return await failure.send_back()


@herd.event(
    "g",
    concurrency=20,
    retry=Retry(
        attempts=5, delay=0.5, on=(OSError, KeyError), never=ValueError, backoff=lambda attempt, error: attempt
    ),
    timeout=timedelta(seconds=30),
    lock=30,
    max_stalls=2,
    keep=Keep(),
    max_payload=4096,
    shards=4,
    key=customer,
    ordered=True,
    once=60,
    durable=True,
    seal=keys.fields("card"),
    sanitize=Allow("order_id"),
    on_failed=told,
)
async def with_every_option(order: Order) -> None: ...


def usual(name: str, **options: Unpack[EventOptions]) -> Decorator:
    """What a project with many events writes around `herd.event`."""
    options.setdefault("timeout", 5)
    return herd.event(name, **options)


@usual("l", concurrency=7)
def with_usual_options(order: Order) -> float:
    return 0.5


assert_type(with_usual_options, Event[Order, float])
assert_type(told, Event[Failure[Order], bool])
assert_type(alone, Event[Order, str])
assert_type(with_context, Event[Order, int])
assert_type(in_thread, Event[Order, list[str]])
assert_type(in_process, Event[Order, None])
assert_type(with_optional_context, Event[Order, bytes])
assert_type(of_a_dict, Event[dict[str, int], None])
assert_type(with_every_option, Event[Order, None])


# -- what handlers depend on, and what surrounds them


class Mailer:
    def send(self, to: str) -> bool:
        return bool(to)


@herd.worker_lifespan
async def pool(of: Oxherd) -> AsyncIterator[list[str]]:
    assert_type(of.prefix, str)
    yield []


@herd.worker_lifespan
async def yields_nothing(of: Oxherd) -> AsyncIterator[None]:
    yield


def get_mailer(opened: Annotated[list[str], Depends(pool)], ctx: Context) -> Iterator[Mailer]:
    yield Mailer()


@herd.event("needs.a")
async def with_dependency(order: Order, mailer: Annotated[Mailer, Depends(get_mailer)]) -> str:
    return str(mailer.send(order.email))


@herd.event("needs.b")
async def with_context_and_dependency(
    order: Order, ctx: Context, mailer: Annotated[Mailer, Depends(get_mailer)], *, n: Annotated[int, Depends(int)]
) -> int:
    return n


@herd.event("needs.c")
def def_with_dependency(order: Order, mailer: Annotated[Mailer, Depends(get_mailer)], ctx: Context) -> list[str]:
    return []


needs_declared = herd.declare("needs.d", Order)


@needs_declared.process
async def process_with_dependency(order: Order, mailer: Annotated[Mailer, Depends(get_mailer)]) -> str:
    return ""


@needs_declared.process
def process_def_with_dependency(order: Order, ctx: Context, mailer: Annotated[Mailer, Depends(get_mailer)]) -> bytes:
    return b""


@herd.middleware
async def timing(ctx: Context, call_next: CallNext) -> object:
    assert_type(await call_next(ctx), object)
    return await call_next(ctx)


@herd.sync_middleware
def connections(ctx: Context, call_next: SyncCallNext) -> object:
    assert_type(call_next(ctx), object)
    return call_next(ctx)


assert_type(with_dependency, Event[Order, str])
assert_type(with_context_and_dependency, Event[Order, int])
assert_type(def_with_dependency, Event[Order, list[str]])
assert_type(process_with_dependency, Event[Order, str])
assert_type(process_def_with_dependency, Event[Order, bytes])
assert_type(pool, Lifespan[list[str]])
assert_type(yields_nothing, Lifespan[None])


async def overrides(order: Order) -> None:
    with herd.override(get_mailer, Mailer), herd.override(pool, lambda: ["a"]):
        assert_type(await with_dependency(order), str)
    assert_type(await with_dependency(order, mailer=Mailer()), str)
    assert_type(def_with_dependency.call(order, None, mailer=Mailer()), list[str])


# -- declared apart from the handler


declared = herd.declare("h", Order, shards=4, key=customer, sanitize=None)
assert_type(declared, Event[Order, Any])


@declared.process
async def declared_handler(order: Order, ctx: Context) -> str:
    return order.email


@herd.declare("i", Order).process
def declared_function(order: Order) -> int:
    return order.order_id


@declared.sanitize
def shown(order: Order) -> dict[str, int]:
    return {"order_id": order.order_id}


assert_type(declared_handler, Event[Order, str])
assert_type(declared_function, Event[Order, int])
assert_type(shown(Order(order_id=1, email="", card=SecretStr(""))), Any)
assert_type(herd.declare("j", Annotated[int, Mask()]), Event[Any, Any])
assert_type(herd.declare("k", list[Order] | None), Event[Any, Any])


class Receipt(BaseModel):
    number: int


with_result = herd.declare("m", Order, result=Receipt, concurrency=3)
assert_type(with_result, Event[Order, Receipt])
assert_type(herd.declare("n", Order, result=None), Event[Order, None])
assert_type(herd.declare("o", Order, result=list[Receipt]), Event[Order, list[Receipt]])
optional_result = herd.declare("p", Order, result=Receipt | None)  # no checker can name its type
assert_type(herd.declare("q", list[Order] | None, result=Receipt), Event[Any, Receipt])


# -- emitting, results, scheduling, stopping


async def emits(order: Order, orders: Iterable[Order], known: UUID) -> None:
    emitted = await alone.emit(order, delay=timedelta(minutes=5), priority=1, id=known, once=3600, durable=True)
    assert_type(emitted, Emitted[str])
    assert_type(emitted.id, UUID)
    assert_type(emitted.event, str)
    assert_type(await with_context.emit_many(orders, delay=1.5), list[Emitted[int]])
    assert_type(await with_context.emit_many(orders, retry=Retry(attempts=1)), list[Emitted[int]])
    assert_type(await with_context.payload(UUID(int=1)), Order | None)
    assert_type(await alone.emit(order, at=datetime.now(UTC), expires=60), Emitted[str])
    assert_type(in_thread.emit_sync(order), Emitted[list[str]])
    assert_type(in_process.emit_many_sync([order]), list[Emitted[None]])
    assert_type(await declared.emit(order), Emitted[Any])
    assert_type(await with_result.emit(order), Emitted[Receipt])
    try:
        await alone.emit_many(order for order in orders)
    except EmitError as error:
        assert_type(error.maybe_stored, bool)


async def runs(order: Order, ctx: Context) -> None:
    assert_type(await alone(order), str)
    assert_type(await with_context(order, ctx), int)
    assert_type(await in_thread(order, None), list[str])
    assert_type(in_thread.call(order), list[str])


async def schedules(order: Order) -> None:
    await alone.schedule("nightly", Cron("0 2 * * *", tz="Europe/Paris"), order)
    await alone.schedule("often", Every(timedelta(minutes=1)), order)
    assert_type(await alone.unschedule("nightly"), bool)


async def starts_and_stops() -> None:
    async with herd as entered:
        assert_type(entered, Oxherd)
        await herd.start()
        await alone.start()
        assert_type(herd.health(), Health)
        assert_type(await alone.stop(timeout=30), StopReport)
        report = await herd.stop(timedelta(seconds=5))
        assert_type(report.requeued, list[UUID])
    assert_type(herd["a"], Event[Any, Any])
    assert_type(list(herd), list[Event[Any, Any]])

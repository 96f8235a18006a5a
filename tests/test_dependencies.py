"""Dependencies of a handler: what may be one, in which order they are made and closed, and what tests put in place."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import fastapi
import pytest

from oxherd import Context, DeclarationError, Depends, Oxherd, UsageError
from oxherd.testing import captured, inline

log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


@pytest.fixture
def herd() -> Oxherd:
    return Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)


class Mailer:
    def __init__(self, name: str = "real") -> None:
        self.name = name


def get_config() -> str:
    log.append("config")
    return "config"


Config = Annotated[str, Depends(get_config)]


async def get_pool(config: Config) -> AsyncIterator[str]:
    log.append("open pool")
    try:
        yield f"pool of {config}"
    except BaseException as error:
        log.append(f"pool saw {type(error).__name__}")
        raise
    finally:
        log.append("close pool")


def get_session(pool: Annotated[str, Depends(get_pool)], config: Config, ctx: Context) -> Iterator[str]:
    log.append(f"open session in {threading.current_thread() is threading.main_thread()}")
    try:
        yield f"session {ctx.attempt} on {pool}"
    except BaseException as error:
        log.append(f"session saw {type(error).__name__}")
        raise
    finally:
        log.append("close session")


Session = Annotated[str, Depends(get_session)]


async def get_mailer() -> Mailer:
    return Mailer()


async def in_loop(number: int, session: Session, mailer: Annotated[Mailer, Depends(get_mailer)]) -> str:
    if number < 0:
        raise ValueError(number)
    log.append("handler")
    return f"{session} by {mailer.name}"


def in_thread(number: int, session: Session, *, mailer: Annotated[Mailer, Depends(get_mailer)]) -> str:
    if number < 0:
        raise ValueError(number)
    log.append("handler")
    return f"{session} by {mailer.name}"


@pytest.mark.parametrize(("handler", "in_main"), [(in_loop, True), (in_thread, False)])
async def test_values_are_made_once_in_order_and_closed_in_reverse(
    herd: Oxherd, handler: Callable[..., Any], in_main: bool
) -> None:
    event = herd.event("a")(handler)
    assert await event(1) == "session 1 on pool of config by real"
    opened = ["config", "open pool", f"open session in {in_main}"]
    assert log == [*opened, "handler", "close session", "close pool"]


@pytest.mark.parametrize("handler", [in_loop, in_thread])
async def test_generators_see_what_the_handler_raised_and_are_closed(herd: Oxherd, handler: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="-1"):
        await herd.event("a")(handler)(-1)
    assert log[3:] == ["session saw ValueError", "close session", "pool saw ValueError", "close pool"]


def swallowing() -> Iterator[None]:
    try:
        yield
    except ValueError:
        log.append("swallowed")


async def test_a_generator_that_does_not_raise_again_ends_the_error_as_a_context_manager_does(herd: Oxherd) -> None:
    @herd.event("a")
    async def fails(number: int, guard: Annotated[None, Depends(swallowing)]) -> None:
        raise ValueError

    @herd.event("b")
    def fails_in_thread(number: int, guard: Annotated[None, Depends(swallowing)]) -> None:
        raise ValueError

    assert await fails(1) is None
    assert await fails_in_thread(1) is None
    assert fails_in_thread.call(1) is None
    assert log == ["swallowed"] * 3


async def broken(session: Session) -> None:
    raise OSError


async def test_a_dependency_that_fails_closes_those_before_it_and_the_handler_does_not_begin(herd: Oxherd) -> None:
    @herd.event("a")
    async def handler(number: int, session: Session, more: Annotated[None, Depends(broken)]) -> None:
        log.append("handler")

    with pytest.raises(OSError):
        await handler(1)
    assert log[3:] == ["session saw OSError", "close session", "pool saw OSError", "close pool"]


async def test_what_is_passed_by_name_is_not_made(herd: Oxherd) -> None:
    event: Any = herd.event("a")(in_loop)
    assert await event(1, session="given", mailer=Mailer("given")) == "given by given"
    assert log == ["handler"]
    with pytest.raises(UsageError, match="a: its handler has no dependency 'mailr'; did you mean 'mailer'"):
        await event(1, mailr=Mailer())
    threaded: Any = herd.event("b")(in_thread)
    assert threaded.call(1, session="given", mailer=Mailer("given")) == "given by given"
    with pytest.raises(UsageError, match=r"get_pool is async; call the event by `await event\(payload\)`"):
        threaded.call(1, mailer=Mailer())


async def test_the_context_may_stand_anywhere_behind_the_payload(herd: Oxherd) -> None:
    @herd.event("a")
    async def last(number: int, config: Config, ctx: Context) -> str:
        return f"{config} {ctx.event}"

    @herd.event("b")
    def second(number: int, ctx: Context, /, config: Config) -> str:
        return f"{config} {ctx.event}"

    @herd.event("c")
    async def by_name(number: int, *, config: Config, ctx: Context | None = None) -> str:
        assert ctx is not None
        return f"{config} {ctx.event}"

    assert [await each(1) for each in (last, second, by_name)] == ["config a", "config b", "config c"]


# -- overriding


@pytest.mark.parametrize("handler", [in_loop, in_thread])
async def test_an_override_holds_in_plain_calls_and_inline_and_only_meanwhile(
    herd: Oxherd, handler: Callable[..., Any]
) -> None:
    event = herd.event("a")(handler)

    async def fake_session(config: Config) -> AsyncIterator[str]:
        yield f"fake with {config}"
        log.append("close fake")

    with herd.override(get_session, fake_session), herd.override(get_mailer, lambda: Mailer("fake")):
        assert await event(1) == "fake with config by fake"
        with inline(herd):
            assert await (await event.emit(1)).result() == "fake with config by fake"
        with captured(herd) as emits:
            await event.emit(2)
        emits.assert_emitted(event)
        with herd.override(get_mailer, lambda: Mailer("inner")):
            assert await event(1) == "fake with config by inner"
        assert await event(1) == "fake with config by fake"
    assert "open pool" not in log
    assert await event(1) == "session 1 on pool of config by real"


def test_an_override_that_is_no_function_is_refused(herd: Oxherd) -> None:
    wrong: Any = Mailer()
    sentence = r"such as herd.override\(get_mailer, lambda: FakeMailer\(\)\)"
    with pytest.raises(UsageError, match=sentence), herd.override(get_mailer, wrong):
        pass


def test_inline_makes_dependencies_also_of_emits_without_an_event_loop(herd: Oxherd) -> None:
    event: Any = herd.event("a")(in_thread)

    @herd.event("b")
    def sync_only(number: int, config: Config) -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return config

    with inline(herd):
        assert event.emit_sync(1).result_sync() == "session 1 on pool of config by real"
        assert sync_only.emit_sync(1).result_sync() == "config"
        with pytest.raises(ValueError, match="-1"):
            event.emit_sync(-1)
    assert log[-4:] == ["session saw ValueError", "close session", "pool saw ValueError", "close pool"]


# -- FastAPI's marks


def get_counter() -> list[int]:
    log.append("counter")
    return [0]


def of_fastapi(
    config: Annotated[str, fastapi.Depends(get_config)],
    counter: Annotated[list[int], fastapi.Depends(get_counter, use_cache=False)],
    again: list[int] = fastapi.Depends(get_counter, use_cache=False),  # noqa: B008 - FastAPI's older way
) -> str:
    return f"{config} {counter is again}"


async def test_a_mark_of_fastapi_means_the_same(herd: Oxherd) -> None:
    @herd.event("a")
    async def handler(
        number: int, value: Annotated[str, fastapi.Depends(of_fastapi)], mailer: Annotated[Mailer, fastapi.Depends()]
    ) -> str:
        return f"{value} {mailer.name}"

    assert await handler(1) == "config False real"
    assert log.count("counter") == 2


def of_a_request(request: fastapi.Request) -> str:
    return str(request.url)


def of_a_query(q: Annotated[str, fastapi.Query()] = "") -> str:
    return q


@pytest.mark.parametrize("function", [of_a_request, of_a_query])
def test_a_dependency_that_needs_a_request_is_refused(herd: Oxherd, function: Callable[..., Any]) -> None:
    async def handler(number: int, value: str) -> None: ...

    handler.__annotations__["value"] = Annotated[str, fastapi.Depends(function)]
    with pytest.raises(DeclarationError, match="needs a web request, which an event does not have; split off"):
        herd.event("a")(handler)


def test_fastapi_is_not_imported() -> None:
    script = """
import sys
from typing import Annotated
from oxherd import Depends, Oxherd
herd = Oxherd()
@herd.event("a")
async def handler(number: int, value: Annotated[int, Depends(lambda: 1)]) -> None: ...
print("fastapi" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


# -- refused


def needs_more(name: str) -> str:
    return name


def itself(value: Any) -> None: ...


itself.__annotations__["value"] = Annotated[str, Depends(itself)]


@contextmanager
def no_generator() -> Generator[int]:
    yield 1


REFUSED: list[tuple[Any, str]] = [
    (Annotated[str, Depends(needs_more)], "dependency needs_more has a parameter 'name' that is neither"),
    (Annotated[str, Depends(itself)], "the dependency itself depends on itself; break the circle"),
    (Annotated[str, Depends(5)], "Depends takes a function, not a int; pass a def"),  # pyright: ignore[reportArgumentType]
    (str, "neither the payload nor a Context nor a dependency; make it a part of the payload"),
]


@pytest.mark.parametrize(("annotation", "sentence"), REFUSED)
def test_what_cannot_be_a_dependency_is_refused_where_it_is_declared(
    herd: Oxherd, annotation: Any, sentence: str
) -> None:
    async def handler(number: int, value: Any) -> None: ...

    handler.__annotations__["value"] = annotation
    with pytest.raises(DeclarationError, match=f"^a: .*{sentence}"):
        herd.event("a")(handler)


def test_a_dependency_in_the_place_of_the_payload_is_refused(herd: Oxherd) -> None:
    async def handler(config: Config) -> None: ...

    with pytest.raises(DeclarationError, match="the handler's first parameter is the payload; let dependencies follow"):
        herd.event("a")(handler)


def test_a_positional_only_dependency_is_refused(herd: Oxherd) -> None:
    async def handler(number: int, config: Config, /) -> None: ...

    with pytest.raises(DeclarationError, match="'config' is positional only; take away the '/'"):
        herd.event("a")(handler)


async def test_a_function_that_makes_a_context_manager_gives_that_itself_as_in_fastapi(herd: Oxherd) -> None:
    @herd.event("a")
    async def handler(number: int, manager: Annotated[Any, Depends(no_generator)]) -> int:
        with manager as value:
            return value

    assert await handler(1) == 1


async def test_a_def_handler_with_dependencies_may_not_return_an_awaitable(herd: Oxherd) -> None:
    @herd.event("a")
    def handler(number: int, config: Config) -> Any:
        return asyncio.sleep(0)

    with pytest.raises(UsageError, match="returned an awaitable; make it an async def"):
        await handler(1)

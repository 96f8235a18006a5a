"""`assert_no_leak`: canaries in a payload, every failure that there is, and a search of all that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

from oxherd.event import Event
from oxherd.payload.paths import parse_paths
from oxherd.servers.standalone import StandaloneServer
from oxherd.testing.canaries import Canary, Planted, plant
from oxherd.testing.example import example
from oxherd.testing.failures import FAILURES, OWN_HANDLER, Run
from oxherd.testing.leak import Leak, LeakError
from oxherd.testing.logs import captured
from oxherd.testing.observation import Heard
from oxherd.testing.refusals import BY_KEY, REFUSALS
from oxherd.testing.search import Search
from oxherd.testing.stage import Stage

_NO_PAYLOAD: Final[Any] = object()


def assert_no_leak(
    event: Event[Any, Any],
    payload: Any = _NO_PAYLOAD,
    *,
    shows: Iterable[str] | None = None,
    url: str | None = None,
    handler: bool = True,
) -> list[str]:
    """Run an event with values in its payload that nothing else has, and with every failure; none may be found outside.

    Blocks, for a second or two; may be called with or without a running event loop. Answers the fields whose values
    were followed: those where the type takes no other value, such as an enum's, are not among them.

    Args:
        event: as it is declared: its type, sanitiser, masks, seal and options are used, on a herd of its own.
        payload: an example, an instance or what fits; made of the type by polyfactory unless given.
        shows: the fields that the log may show as they are, named as for `Allow`: `()` for none. None: what the
            sanitiser, or the masks, show of the payload.
        url: the server; else one of our own, for as long as it takes. Keys have a prefix of their own, and are removed.
        handler: whether to run the event's own handler, once, besides those that fail.

    Raises:
        LeakError: a value was found; an AssertionError that names each field, sink and failure.
        InvalidPayload, PayloadTooLarge: the example does not fit the type.
        ConfigError: polyfactory is needed and missing, or can make no payload of the type.
        DeclarationError: `shows` names a field that the type does not have.
        ServerError: the server cannot be started.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="oxherd-leaks") as thread, ExitStack() as stack:
        payload_type = event.declaration.payload
        planted = plant(payload_type, example(payload_type) if payload is _NO_PAYLOAD else payload)
        check = _Check(event, planted, shows)
        where = url or stack.enter_context(StandaloneServer(unix=True)).url
        # A loop of its own: the caller's may be running.
        thread.submit(asyncio.run, check.run(_runs(event, handler), where)).result()
    if check.leaks:
        raise LeakError(event.name, check.leaks)
    return [canary.path for canary in planted.canaries]


def _runs(event: Event[Any, Any], handler: bool) -> Iterator[Run]:
    if handler and event.handler is not None:
        yield OWN_HANDLER
    yield from FAILURES
    yield from REFUSALS
    if event.declaration.own_queue and not event.declaration.ordered:
        yield BY_KEY


class _Check:
    """Runs one event, and searches what comes of it."""

    def __init__(self, event: Event[Any, Any], planted: Planted, shows: Iterable[str] | None) -> None:
        self._event = event
        self._planted = planted
        sealer = event.declaration.payload.sealer
        sealed = [canary for canary in planted.canaries if sealer.covers(canary.place)]
        shown = _shown(event, planted, shows)
        self._hidden = Search(canary for canary in planted.canaries if canary not in shown)
        self._sealed = Search(sealed)
        self.leaks: list[Leak] = []

    async def run(self, runs: Iterable[Run], url: str) -> None:
        """One after the other, so that what is heard is of one run."""
        for run in runs:
            stage = Stage(self._event, self._planted, url)
            with captured(stage.heard.append):
                await run.act(stage)
            for heard in dict.fromkeys(stage.heard):
                self.leaks += [Leak(heard.sink, canary.path, run.what, text) for canary, text in self._find(run, heard)]

    def _find(self, run: Run, heard: Heard) -> Iterator[tuple[Canary, str]]:
        if not heard.is_payload and not heard.is_result:
            yield from self._hidden.find(heard.text)
        elif (heard.is_payload and not run.stores_plain) or (heard.is_result and run.is_own):
            yield from self._sealed.find(heard.text)


def _shown(event: Event[Any, Any], planted: Planted, shows: Iterable[str] | None) -> set[Canary]:
    """The canaries that the log may show."""
    payload_type = event.declaration.payload
    if shows is None:
        json = event.sanitizer().show(payload_type.decode(planted.raw)).json or b""
        return {canary for canary, _ in Search(planted.canaries).find(json.decode())}
    paths = [shows] if isinstance(shows, str) else list(shows)
    if not paths:
        return set()
    selected = parse_paths(payload_type.schema, paths, f"{event.name}: shows", by_alias=True)
    return {canary for canary in planted.canaries if selected.covers(canary.place)}

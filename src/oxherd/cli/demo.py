"""`oxherd demo`: emits, processes, retries, schedules and stops sample events on a real server."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, SecretStr
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from oxherd.app import Oxherd
from oxherd.bullmq.inspection import server_facts, stored_keys
from oxherd.cli.terminal import Interrupts, make_console
from oxherd.context import Context, ContextFilter
from oxherd.event import Event
from oxherd.policy import Retry
from oxherd.privacy.allow import Allow
from oxherd.privacy.masks import Mask
from oxherd.schedule.every import Every
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.polling import wait_for
from oxherd.signals import EventEnded
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter

_STEP_SECONDS = 8.0  # the timeout of each step


class Order(BaseModel):
    """An order with private data, which must not be logged."""

    order_id: int
    email: Annotated[str, Mask("email")]
    card: SecretStr


class Mail(BaseModel):
    """A mail to send; without masks, nothing of it is logged."""

    to: str
    subject: str


class Report(BaseModel):
    """A report to write."""

    name: str


def run(*, cluster: bool) -> int:
    """Run the demo; the exit status is 0 if every event ended as it should."""
    console = make_console()
    began = time.monotonic()
    interrupts = Interrupts()
    try:
        with _server(console, cluster=cluster) as url:
            ok = interrupts.run(_Demo(console, url, cluster=cluster).run())
    finally:
        interrupts.check()
    console.print(f"[dim]done in {time.monotonic() - began:.1f} s; the server is stopped[/dim]")
    return 0 if ok else 1


@contextmanager
def _server(console: Console, *, cluster: bool) -> Generator[str]:
    if cluster:
        console.print("[dim]starting a cluster of six nodes on this machine ...[/dim]")
        with LocalCluster() as nodes:
            yield nodes.url
        return
    # A folder of its own, so that nothing is left in the user's.
    with tempfile.TemporaryDirectory(prefix="oxherd-demo-") as folder:
        server = EmbeddedServer(Path(folder))
        try:
            with server:
                yield server.url
        finally:
            # The folder can be removed once the server has written its data and ended.
            wait_for(lambda: not server.socket.exists(), timeout=5)


class _Demo:
    """The sample events and their outcomes."""

    def __init__(self, console: Console, url: str, *, cluster: bool) -> None:
        self._console = console
        self._cluster = cluster
        self._herd = Oxherd(url, stop_timeout=5)
        self._emitted: Counter[str] = Counter()
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._changed = asyncio.Event()
        self._slow_began = asyncio.Event()
        self._herd.signals.subscribe(self._count, EventEnded)
        self._order = self._herd.event("order.placed", concurrency=20)(self._on_order)
        self._mail = self._herd.event("mail.send", retry=Retry(attempts=3, delay=0.2))(self._on_mail)
        self._card = self._herd.event("card.charge", retry=Retry(attempts=2, delay=0.1))(self._on_card)
        self._report = self._herd.event("report.write", sanitize=Allow("name"))(self._on_report)

    # -- handlers, as a user writes them

    async def _on_order(self, order: Order, ctx: Context) -> str:
        ctx.log.info("reserving the goods")
        if order.order_id == 7:
            self._slow_began.set()
            await asyncio.sleep(0.6)
        return f"order {order.order_id} placed"

    def _on_mail(self, mail: Mail, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ConnectionError(f"the mail server hung up on {mail.to}")

    async def _on_card(self, order: Order) -> None:
        raise ValueError(f"card {order.card.get_secret_value()} was declined")

    async def _on_report(self, report: Report, ctx: Context) -> None:
        ctx.log.info("writing the %s report", report.name)

    # -- steps

    async def run(self) -> bool:
        """Run all steps; False if an event did not end as it should."""
        self._set_up_logging()
        order = Order(order_id=1, email="alice@example.com", card=SecretStr("4111 1111 1111 1111"))
        async with self._herd:
            backend = await self._herd.backend()
            facts = await server_facts(backend.client)
            version = ".".join(map(str, facts.version))
            nodes = "six nodes, three primaries" if self._cluster else "one server on a private Unix socket"
            self._console.print(f"[bold]oxherd demo[/bold] on {facts.software} {version}: {nodes}")
            self._title("emit: each typed payload gets a UUID")
            await self._emit(self._order, order)
            await self._emit(self._mail, Mail(to="bob@example.com", subject="Your order"))
            await self._emit(self._card, order)
            self._title("process: begin and end are logged, without masked and secret fields, in errors too")
            await self._herd.start()
            await self._wait_for(lambda: self._ended("order.placed", "mail.send", "card.charge") == 3)
            self._title("schedule: one event every second")
            await self._report.schedule("demo", Every(1), Report(name="daily"))
            await self._wait_for(lambda: self._ended("report.write") >= 2)
            await self._report.unschedule("demo")
            self._emitted["report.write"] = self._ended("report.write")
            self._title("stop: the running event ends first")
            await self._emit(self._order, order.model_copy(update={"order_id": 7}))
            await asyncio.wait_for(self._slow_began.wait(), _STEP_SECONDS)
            await self._herd.stop()
            return await self._summary()

    async def _emit(self, event: Event[Any, Any], payload: BaseModel) -> None:
        emitted = await event.emit(payload)
        self._emitted[event.name] += 1
        self._console.print(f"  {event.name:<14} {emitted.id}")

    async def _summary(self) -> bool:
        table = Table(
            box=SIMPLE_HEAD,
            title="Outcomes, and what is left in Redis",
            title_justify="left",
            title_style="bold cyan",
        )
        table.add_column("event", no_wrap=True)
        for column in ("emitted", "completed", "retried", "failed", "waiting", "jobs left", "own keys"):
            table.add_column(column, justify="right", no_wrap=True)
        if self._cluster:
            table.add_column("slot", justify="right", no_wrap=True)
            table.add_column("served by", no_wrap=True)
        backend = await self._herd.backend()
        ok = True
        for event in self._herd:
            queue = backend.queue(event.declaration)
            counts = await queue.counts()
            keys = await stored_keys(queue)
            waiting = counts["wait"] + counts["active"] + counts["delayed"] + counts["prioritized"]
            jobs = counts["failed"] + counts["completed"] + waiting
            done = {name: self._outcomes[event.name, name] for name in ("completed", "retrying", "failed")}
            ok = ok and done["completed"] + done["failed"] == self._emitted[event.name] and not counts["completed"]
            cells = [self._emitted[event.name], done["completed"], done["retrying"], done["failed"], waiting, jobs]
            row = [event.name, *map(str, cells), str(len(keys) - jobs)]
            if self._cluster:
                row += [str(queue.keys.slot), (await backend.client.topology.node(queue.keys.slot)).name]
            table.add_row(*row)
        self._console.print()
        self._console.print(table)
        self._console.print(
            "Completed events are removed from Redis; failed ones are kept, up to a bound, for inspection. "
            "A queue's own keys (event stream, meta, counters) do not grow with its events."
        )
        return ok

    def _title(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]{text}[/bold cyan]")

    def _count(self, ended: EventEnded) -> None:
        self._outcomes[ended.event, ended.outcome] += 1
        self._changed.set()

    def _ended(self, *events: str) -> int:
        return sum(self._outcomes[event, outcome] for event in events for outcome in ("completed", "failed"))

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_STEP_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _set_up_logging(self) -> None:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(ConsoleFormatter(colour=self._console.is_terminal))
        handler.addFilter(ContextFilter())
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)

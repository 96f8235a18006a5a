"""Sealed payloads with real workers: keys that are rotated beneath them, handlers in processes, missing keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from oxherd import Keyring
from oxherd.redis.blocking import ReplyError, command
from oxherd.redis.url import Address
from tests.cli.support import WriteApp, one_line
from tests.harness import WorkerProcess, cli, until_sync

CANARY = "kanarie7391"

APP = """
import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel
from oxherd import Keyring, Mask, Oxherd, Retry

herd = Oxherd(prefix=PREFIX)
ring = json.loads(Path("ring.json").read_text())
keyring = Keyring({name: (lambda name=name: Path(f"{name}.key").read_text()) for name in ring})

class Order(BaseModel):
    number: int
    card: Annotated[str, Mask("last4")]

def charge(order: Order) -> None:
    if order.number == 13:
        raise ValueError(f"declined {order.card}, {[order.card]}")

@herd.event("order.loop", seal=keyring, retry=Retry(attempts=1))
async def loop(order: Order) -> None:
    charge(order)

@herd.event("order.process", run_in="process", seal=keyring.fields("card"), retry=Retry(attempts=1))
def process(order: Order) -> None:
    charge(order)
"""
EVENTS = ("order.loop", "order.process")


class Shop:
    """An app in a folder, its keys in files beside it."""

    def __init__(self, folder: Path, url: str, prefix: str) -> None:
        self.folder, self.url, self.prefix = folder, url, prefix
        self.keys = {name: Keyring.generate() for name in "abc"}
        for name, key in self.keys.items():
            (folder / f"{name}.key").write_text(key + "\n")
        self.ring("a")

    def ring(self, *names: str) -> None:
        """The keys of what is started from now on."""
        (self.folder / "ring.json").write_text(json.dumps(names))

    def emit(self, event: str, *numbers: int) -> list[str]:
        lines = "".join(json.dumps({"number": each, "card": f"{CANARY}-0042"}) + "\n" for each in numbers)
        done = cli(self.folder, "emit", "app:herd", event, "-", url=self.url, stdin=lines)
        assert done.returncode == 0, done.stderr
        assert CANARY not in done.stdout + done.stderr
        return done.stdout.split()

    def stored(self) -> str:
        """All that is in Redis below the prefix."""
        parts = urlsplit(self.url)
        found: list[str] = []
        server = Address(str(parts.hostname), parts.port or 0)
        keys = command(server, "KEYS", f"{self.prefix}:*", password=parts.password)
        assert isinstance(keys, list)
        reads = [("GET",), ("HGETALL",), ("LRANGE", 0, -1), ("ZRANGE", 0, -1), ("SMEMBERS",), ("XRANGE", "-", "+")]
        for key in map(str, keys):
            for word, *rest in reads:
                try:
                    found.append(f"{key} {command(server, word, key, *rest, password=parts.password)}")
                except ReplyError:
                    continue
        return "\n".join(found)

    def secrets_in(self, text: str) -> list[str]:
        return [secret for secret in (CANARY, CANARY[:8], *self.keys.values()) if secret in text]


@pytest.fixture
def shop(write_app: WriteApp, standalone: str, prefix: str) -> Shop:
    return Shop(write_app(APP), standalone, prefix)


StartWorker = Callable[..., WorkerProcess]


@pytest.mark.slow
def test_workers_with_old_and_new_keys_process_all_sealed_events(shop: Shop, start_worker: StartWorker) -> None:
    emitted: list[str] = []
    for names in ("a", "ab", "ba"):
        shop.ring(*names)
        for event in EVENTS:
            emitted += shop.emit(event, *range(10))
    assert not shop.secrets_in(shop.stored())
    workers: list[WorkerProcess] = []
    for index, names in enumerate(("ab", "ba")):
        shop.ring(*names)
        workers.append(start_worker(url=shop.url, log=f"worker{index}.jsonl"))
        workers[-1].wait("worker.start")
    until_sync(lambda: sum(worker.count("event.end", outcome="completed") for worker in workers) == len(emitted))
    ended = [r["event_id"] for worker in workers for r in worker.records() if r["msg"] == "event.end"]
    assert sorted(ended) == sorted(emitted)
    for worker in workers:
        assert worker.stop() == 0
        assert not shop.secrets_in(worker.log.read_text() + worker.output.read_text())
        shown = [record["payload"] for record in worker.records() if record["msg"] == "event.begin"]
        assert {each["card"] for each in shown} <= {"***0042"}


@pytest.mark.parametrize("event", EVENTS)
def test_a_handlers_error_shows_nothing_sealed(event: str, shop: Shop, start_worker: StartWorker) -> None:
    (failing,) = shop.emit(event, 13)
    worker = start_worker(url=shop.url)
    worker.wait("event.end", outcome="failed", event_id=failing)
    (end,) = [record for record in worker.records() if record["msg"] == "event.end"]
    assert end["error"]["message"] == "declined ***, ['***']"
    assert worker.stop() == 0
    stored = shop.stored()
    assert "declined ***, ['***']" in stored
    assert not shop.secrets_in(stored + worker.log.read_text() + worker.output.read_text())


@pytest.mark.parametrize("event", EVENTS)
def test_a_key_removed_too_early_fails_the_event_and_can_be_added_again(
    event: str, shop: Shop, start_worker: StartWorker
) -> None:
    (emitted,) = shop.emit(event, 1)
    shop.ring("b")
    worker = start_worker(url=shop.url)
    worker.wait("queue.error", source="data", event_id=emitted)
    assert worker.stop() == 0
    (fault,) = [record for record in worker.records() if record["msg"] == "queue.error"]
    assert fault["error"]["type"] == "SealError"
    assert "is sealed with the key 'a', which the Keyring does not have here" in fault["error"]["message"]
    assert fault["error"]["message"] in shop.stored()
    assert not shop.secrets_in(worker.log.read_text())


def test_a_worker_without_its_keys_does_not_start_and_check_reports_why(shop: Shop) -> None:
    shop.ring("b", "a")
    done = cli(shop.folder, "check", "app:herd", url=shop.url)
    assert done.returncode == 0
    assert re.search(r"^ok +seal order\.loop +b seals; opened by a too$", done.stdout, re.MULTILINE)
    (shop.folder / "a.key").unlink()
    why = (
        "The key 'a' of the Keyring could not be read (FileNotFoundError): it must be 32 bytes, as bytes or as "
        "base64 text."
    )
    checked = cli(shop.folder, "check", "app:herd", url=shop.url)
    assert checked.returncode == 1
    assert re.search(rf"^wrong +seal order\.loop +{re.escape(why)}$", checked.stdout, re.MULTILINE)
    assert one_line(cli(shop.folder, "worker", "app:herd", url=shop.url), 2) == why
    line = '{"number": 1, "card": "kanarie7391"}'
    refused = one_line(cli(shop.folder, "emit", "app:herd", "order.loop", "-", url=shop.url, stdin=line), 2)
    assert why in refused
    assert CANARY not in refused

"""`oxherd worker`, black box: its JSON log, what it does with what others put on the queue, and how it ends."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from oxherd import Oxherd, Retry
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from tests.cli.support import WriteApp, keys, redis, start
from tests.harness import WorkerProcess, until_sync

Record = dict[str, Any]
StartWorker = Callable[..., WorkerProcess]

APP = '''
import asyncio, logging, threading
from pathlib import Path
from typing import Annotated, Any
from pydantic import BaseModel, SecretStr
from oxherd import Context, Mask, Oxherd, Retry

herd = Oxherd(prefix=PREFIX)

class Order(BaseModel):
    order_id: int
    note: str = "nothing special"

class Customer(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")]
    card: SecretStr

inside, said = threading.Event(), threading.Event()

def outsider() -> None:
    """A thread that no event has started."""
    inside.wait()
    logging.getLogger("outsider").info("outside")
    said.set()

threading.Thread(target=outsider, daemon=True).start()

def in_helper(text: str) -> None:
    logging.getLogger("helper").info(text)

@herd.event("plain")
async def plain(order: Order, ctx: Context) -> str:
    ctx.log.info("bound %d", order.order_id, extra={"size": 3})
    logging.getLogger("shop").warning("of any\\nlogger")
    await asyncio.gather(asyncio.create_task(asyncio.to_thread(in_helper, "in a helper")))
    inside.set()
    await asyncio.to_thread(said.wait)
    return "receipt"

@herd.event("threaded")
def threaded(order: Order, ctx: Context) -> None:
    ctx.log.info("bound")
    logging.getLogger().error("the root logger", extra={"thing": object(), "event": "mine"})

@herd.event("colliding")
async def colliding(order: Order) -> None:
    names = ("ts", "level", "logger", "exception", "payload", "outcome", "fence", "event", "attempt")
    logging.getLogger("shop").info("extras", extra=dict.fromkeys(names, "mine"))

@herd.event("masked")
async def masked(customer: Customer) -> None: ...

@herd.event("sanitized", sanitize=lambda order: {"order_id": order.order_id})
async def sanitized(order: Order) -> None: ...

def broken(order: Order) -> Any:
    raise ValueError(f"cannot sanitise {order.note}")

@herd.event("sanitizer.raises", sanitize=broken)
async def sanitizer_raises(order: Order) -> None: ...

@herd.event("sanitizer.returns.no.json", sanitize=lambda order: {"handle": object()})
async def sanitizer_returns_no_json(order: Order) -> None: ...

@herd.event("failing", retry=Retry(attempts=2, delay=0))
async def failing(order: Order) -> None:
    raise RuntimeError(f"cannot do {order.note}")

@herd.event("waiting", concurrency=4)
async def waiting(order: Order) -> None:
    while not Path("go").exists():
        await asyncio.sleep(0.01)

@herd.event("waiting.thread", concurrency=4)
def waiting_thread(order: Order, ctx: Context) -> None:
    while not Path("go").exists():
        threading.Event().wait(0.01)

@herd.event("obedient.thread")
def obedient_thread(order: Order, ctx: Context) -> None:
    while not Path("go").exists() and ctx.cancelled is None:
        threading.Event().wait(0.01)
    if ctx.cancelled is not None:
        raise RuntimeError("told to stop")
'''

EVENTS = re.findall(r'@herd\.event\("([a-z.]+)"', APP)
BEGIN = {"ts", "level", "logger", "msg", "event", "event_id", "attempt", "fence"}
END = BEGIN | {"outcome", "duration_ms"}


@pytest.fixture
def standalone() -> Iterator[str]:
    """A server of each test's own, in place of the shared one: what blocks on it can be counted."""
    with StandaloneServer() as server:
        yield server.url


@pytest.fixture
def app(write_app: WriteApp) -> Path:
    return write_app(APP)


@contextmanager
def producer(url: str, prefix: str) -> Generator[Oxherd]:
    """A herd that only emits."""
    herd = Oxherd(url, prefix=prefix)
    for event in EVENTS:
        herd.declare(event, dict[str, Any], retry=Retry(attempts=2, delay=0))
    try:
        yield herd
    finally:
        herd.close_sync()


def emit(url: str, prefix: str, *events: str, note: str = "nothing special", **fields: Any) -> list[str]:
    """Emit one of each; their UUIDs."""
    with producer(url, prefix) as herd:
        return [
            str(herd[event].emit_sync({"order_id": number, "note": note, **fields}).id)
            for number, event in enumerate(events)
        ]


def lines(worker: WorkerProcess) -> list[Record]:
    """The whole log of a worker that has ended: every line is one JSON object, no key of which occurs twice."""

    def once(pairs: list[tuple[str, Any]]) -> Record:
        assert len({key for key, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    assert worker.process.poll() is not None
    return [json.loads(line, object_pairs_hook=once) for line in worker.log.read_text().splitlines()]


def of(records: list[Record], event_id: str) -> list[Record]:
    return [record for record in records if record.get("event_id") == event_id]


def assert_pairs(records: list[Record]) -> None:
    """Every begin has exactly one end, after it, with the same id and fence."""
    begins = [(r["event_id"], r["fence"]) for r in records if r["msg"] == "event.begin"]
    ends = [(r["event_id"], r["fence"]) for r in records if r["msg"] == "event.end"]
    assert Counter(begins) == Counter(ends)
    assert max(Counter(begins).values(), default=1) == 1
    position = {(r["event_id"], r["fence"]): i for i, r in enumerate(records) if r["msg"] == "event.begin"}
    for i, record in enumerate(records):
        if record["msg"] == "event.end":
            assert position[record["event_id"], record["fence"]] < i


# -- the log


def test_the_log_follows_the_reference(app: Path, standalone: str, prefix: str, start_worker: StartWorker) -> None:
    before = datetime.now(UTC)
    plain, threaded, failing = emit(standalone, prefix, "plain", "threaded", "failing", note="a secret note")
    worker = start_worker(url=standalone)
    worker.wait("event.end", count=2, outcome="completed")
    worker.wait("event.end", outcome="failed")
    assert worker.stop() == 0
    records = lines(worker)
    for record in records:
        assert list(record)[:4] == ["ts", "level", "logger", "msg"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["ts"])
        assert before <= datetime.fromisoformat(record["ts"]) <= datetime.now(UTC)
        assert record["level"] in {"INFO", "WARNING", "ERROR"}
        assert isinstance(record["logger"], str)
        assert isinstance(record["msg"], str)
    assert [r["ts"] for r in records if r["logger"] == "oxherd"] == sorted(
        r["ts"] for r in records if r["logger"] == "oxherd"
    )
    assert_pairs(records)

    started, stopped = records[0], records[-1]
    assert (started["msg"], started["logger"], set(started["events"])) == ("worker.start", "oxherd", set(EVENTS))
    assert (stopped["msg"], stopped["drained"], stopped["requeued"], stopped["stranded"]) == ("worker.stop", 0, 0, 0)

    begin, *own, end = of(records, plain)
    assert set(begin) == BEGIN
    assert set(end) == END
    assert (begin["msg"], end["msg"], end["outcome"], end["level"]) == ("event.begin", "event.end", "completed", "INFO")
    assert (begin["event"], begin["attempt"], begin["fence"]) == ("plain", 1, 1)
    assert isinstance(end["duration_ms"], int | float)
    assert [(r["logger"], r["level"], r["msg"]) for r in own] == [
        ("oxherd.event.plain", "INFO", "bound 0"),
        ("shop", "WARNING", "of any\nlogger"),
        ("helper", "INFO", "in a helper"),
    ]
    assert own[0]["size"] == 3
    assert uuid.UUID(begin["event_id"]).version == 7

    begin, bound, root, end = of(records, threaded)
    assert (bound["msg"], bound["event"], bound["attempt"]) == ("bound", "threaded", 1)
    assert (root["msg"], root["logger"], root["event"], root["attempt"]) == ("the root logger", "root", "threaded", 1)

    (outside,) = [r for r in records if r["msg"] == "outside"]
    assert not {"event", "event_id", "attempt"} & set(outside)

    # The next attempt may begin before the end of the one before it is told.
    first, retrying, second, failed = sorted(of(records, failing), key=lambda record: record["attempt"])
    assert (first["attempt"], first["fence"], second["attempt"], second["fence"]) == (1, 1, 2, 2)
    assert (retrying["outcome"], failed["outcome"]) == ("retrying", "failed")
    assert set(failed) == END | {"error"}
    for end in (retrying, failed):
        assert end["error"]["type"] == "RuntimeError"
        assert end["error"]["message"] == "cannot do ***"
    assert "secret note" not in worker.log.read_text()


def test_a_users_extra_does_not_replace_a_documented_key(
    app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    (event_id,) = emit(standalone, prefix, "colliding")
    worker = start_worker(url=standalone)
    worker.wait("event.end")
    assert worker.stop() == 0
    begin, extras, _ = of(lines(worker), event_id)
    assert begin["ts"] <= extras["ts"]
    assert (extras["level"], extras["logger"], extras["msg"]) == ("INFO", "shop", "extras")
    assert (extras["event"], extras["attempt"]) == ("colliding", 1)
    names = ("ts", "level", "logger", "exception", "payload", "outcome", "fence", "event", "attempt")
    assert [extras[f"extra_{name}"] for name in names] == ["mine"] * len(names)
    assert not {"payload", "outcome", "fence", "exception"} & extras.keys()


def test_a_payload_is_logged_only_as_sanitised_or_masked(
    app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    personal = {"email": "alice@example.com", "card": "4111-1111-1111-1111"}
    plain, masked, sanitized = emit(standalone, prefix, "plain", "masked", "sanitized", note="on the phone", **personal)
    worker = start_worker(url=standalone)
    worker.wait("event.end", count=3, outcome="completed")
    assert worker.stop() == 0
    begins = {record["event_id"]: record for record in worker.records() if record["msg"] == "event.begin"}
    assert "payload" not in begins[plain]
    assert begins[masked]["payload"] == {"order_id": 1, "email": "a***@***", "card": "***"}
    assert begins[sanitized]["payload"] == {"order_id": 2}
    text = worker.log.read_text()
    for value in (*personal.values(), "phone"):
        assert value not in text


def test_a_failing_sanitiser_hides_the_payload_and_the_event_is_processed(
    app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    broken = ("sanitizer.raises", "sanitizer.returns.no.json")
    ids = emit(standalone, prefix, *broken, note="a secret note")
    worker = start_worker(url=standalone)
    worker.wait("event.end", count=2, outcome="completed")
    assert worker.stop() == 0
    for event, event_id in zip(broken, ids, strict=True):
        error, begin, end = of(lines(worker), event_id)
        assert (error["msg"], error["source"], error["queue"]) == ("queue.error", "sanitize", f"{{{event}}}")
        assert (error["level"], error["event"], error["attempt"]) == ("ERROR", event, 1)
        assert set(error["error"]) >= {"type", "message"}
        assert "payload" not in begin
        assert end["outcome"] == "completed"
    assert "secret note" not in worker.log.read_text()


def test_the_console_format_is_for_people(app: Path, standalone: str, prefix: str) -> None:
    (event_id,) = emit(standalone, prefix, "sanitized")
    process = start(app, "worker", "app:herd", url=standalone)
    try:
        until_sync(lambda: redis(standalone, "EXISTS", f"{prefix}:{{sanitized}}:{event_id}") == 0)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "")
    for line in err.splitlines():
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)
    assert re.search(
        rf"^\d\d:\d\d:\d\d\.\d\d\d  sanitized +#1  {event_id[-12:]}  begin  {{\"order_id\": 0}}$", err, re.MULTILINE
    )
    assert re.search(rf" {event_id[-12:]}  completed in \d", err)
    assert "\033" not in err


# -- what is taken


def test_only_the_named_events_are_processed(
    app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    emit(standalone, prefix, "plain", "masked", "sanitized", email="alice@example.com", card="4111")
    worker = start_worker("--event", "masked", "--event", "sanitized", url=standalone)
    worker.wait("event.end", count=2, outcome="completed")
    assert worker.stop() == 0
    records = lines(worker)
    assert records[0]["events"] == ["masked", "sanitized"]
    assert {r["event"] for r in records if r["msg"] == "event.begin"} == {"masked", "sanitized"}
    assert redis(standalone, "LLEN", f"{prefix}:{{plain}}:wait") == 1


def put(url: str, base: str, job_id: str, **fields: str) -> None:
    """Put a job on a queue as any program could: a hash, the list, the marker."""
    if fields:
        pairs = [word for pair in fields.items() for word in pair]
        redis(url, "HSET", base + job_id, *pairs)
    redis(url, "LPUSH", f"{base}wait", job_id)
    redis(url, "ZADD", f"{base}marker", 0, "0")


NOW = str(round(time.time() * 1000))
GOOD = '{"order_id":1}'
OPTIONS = '{"attempts":5,"backoff":{"type":"fixed","delay":10}}'
FOREIGN: dict[str, dict[str, str]] = {
    "no JSON": {"name": "plain", "data": "hunter22 {", "opts": OPTIONS, "timestamp": NOW},
    "wrong type": {"name": "plain", "data": '{"order_id":"hunter22"}', "opts": OPTIONS, "timestamp": NOW},
    "a field that is missing": {"name": "plain", "data": '{"note":"hunter22"}', "opts": OPTIONS, "timestamp": NOW},
    "no data": {"name": "plain", "opts": OPTIONS, "timestamp": NOW},
    "no name": {"data": GOOD, "opts": OPTIONS, "timestamp": NOW},
    "unknown name": {"name": "nobodys", "data": GOOD, "opts": OPTIONS, "timestamp": NOW},
    "options that are no JSON": {"name": "plain", "data": GOOD, "opts": "hunter22", "timestamp": NOW},
    "a counter that is no number": {"name": "plain", "data": GOOD, "opts": OPTIONS, "timestamp": "hunter22"},
    "no hash at all": {},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_job_that_cannot_be_processed_fails_at_once_and_the_worker_goes_on(
    what: str, app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    base = f"{prefix}:{{plain}}:"
    put(standalone, base, "77", **FOREIGN[what])
    worker = start_worker("--event", "plain", url=standalone)
    worker.wait("queue.error", source="data")
    until_sync(lambda: redis(standalone, "ZSCORE", f"{base}failed", "77") is not None)
    (good,) = emit(standalone, prefix, "plain")
    worker.wait("event.end", event_id=good, outcome="completed")
    assert worker.stop() == 0
    records = lines(worker)
    (error,) = [record for record in records if record["msg"] == "queue.error"]
    assert (error["source"], error["queue"], error["level"]) == ("data", "{plain}", "ERROR")
    assert error["event_id"] == str(uuid.uuid5(uuid.NAMESPACE_URL, "oxherd:{plain}:77"))
    assert [record["event_id"] for record in records if record["msg"] == "event.begin"] == [good]
    reason = redis(standalone, "HGET", f"{base}77", "failedReason")
    assert isinstance(reason, str)
    assert reason
    assert "hunter22" not in reason + worker.log.read_text()
    assert redis(standalone, "LLEN", f"{base}active") == 0
    assert redis(standalone, "ZCARD", f"{base}delayed") == 0
    assert not [key for key in keys(standalone, prefix) if key.endswith(":lock")]


def test_a_damaged_key_logs_a_bounded_number_of_errors_and_other_events_go_on(
    app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    redis(standalone, "SET", f"{prefix}:{{masked}}:wait", "damaged")
    worker = start_worker("--event", "masked", "--event", "sanitized", url=standalone)
    worker.wait("queue.error", source="fetch")
    for _ in range(20):
        (event_id,) = emit(standalone, prefix, "sanitized")
        worker.wait("event.end", event_id=event_id, outcome="completed")
    redis(standalone, "DEL", f"{prefix}:{{masked}}:wait")
    emit(standalone, prefix, "masked", email="alice@example.com", card="4111")
    worker.wait("event.end", event="masked", outcome="completed")
    assert worker.stop() == 0
    errors = [record for record in lines(worker) if record["msg"] == "queue.error"]
    assert len(errors) == len({(error["source"], error["error"]["message"]) for error in errors}) <= 3
    assert {error["queue"] for error in errors} == {"{masked}"}
    assert "redis.error" not in worker.log.read_text()


# -- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(
    number: signal.Signals, app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    events = ["waiting", "waiting.thread"]
    running = emit(standalone, prefix, *events)
    worker = start_worker(url=standalone)
    worker.wait("event.begin", count=2)
    worker.signal(number)
    # It takes nothing from now on; once it has left the queue, a new event stays there.
    until_sync(lambda: blocked(standalone) == 0)
    late = emit(standalone, prefix, *events)
    (app / "go").touch()
    assert worker.exit() == 0
    records = lines(worker)
    assert_pairs(records)
    assert {r["event_id"] for r in records if r.get("outcome") == "completed"} == set(running)
    assert not {r["event_id"] for r in records if r["msg"] == "event.begin"} & set(late)
    assert (records[-1]["msg"], records[-1]["drained"], records[-1]["requeued"]) == ("worker.stop", 2, 0)


def blocked(url: str) -> int:
    """How many clients wait in a blocking command."""
    found = re.search(r"blocked_clients:(\d+)", str(redis(url, "INFO", "clients")))
    assert found is not None
    return int(found[1])


def assert_put_back_and_run_again(
    worker: WorkerProcess, ids: list[str], app: Path, url: str, start_worker: StartWorker
) -> None:
    records = lines(worker)
    assert_pairs(records)
    assert {r["event_id"] for r in records if r.get("outcome") == "requeued"} == set(ids)
    assert (records[-1]["msg"], records[-1]["requeued"], records[-1]["stranded"]) == ("worker.stop", len(ids), 0)
    deaf = {r["event_id"] for r in records if r["msg"] == "event.begin" and r["event"] == "waiting.thread"}
    assert set(records[-1]["stuck_ids"]) == deaf
    (app / "go").touch()
    second = start_worker(url=url, log="second.jsonl")
    second.wait("event.end", count=len(ids), outcome="completed")
    assert second.stop() == 0
    begins = [record for record in lines(second) if record["msg"] == "event.begin"]
    assert {(r["event_id"], r["attempt"], r["fence"]) for r in begins} == {(event_id, 1, 2) for event_id in ids}


HANDLERS = {
    "async": ["waiting", "waiting"],
    "threads that do not listen": ["waiting.thread", "waiting.thread"],
    "a thread that listens": ["obedient.thread"],
    "all": ["waiting", "waiting.thread", "obedient.thread"],
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_what_still_runs_after_the_stop_timeout_is_put_back_and_the_process_ends(
    kind: str, app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    ids = emit(standalone, prefix, *HANDLERS[kind])
    worker = start_worker("--stop-timeout", "0.3", url=standalone)
    worker.wait("event.begin", count=len(ids))
    begun = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begun < 5
    assert_put_back_and_run_again(worker, ids, app, standalone, start_worker)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["async", "threads that do not listen"])
def test_a_second_signal_ends_the_stop_timeout(
    first: signal.Signals, kind: str, app: Path, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    ids = emit(standalone, prefix, *HANDLERS[kind])
    worker = start_worker("--stop-timeout", "60", url=standalone)
    worker.wait("event.begin", count=len(ids))
    worker.signal(first)
    until_sync(lambda: blocked(standalone) == 0)
    assert worker.process.poll() is None
    begun = time.monotonic()
    worker.signal(signal.SIGINT if first is signal.SIGTERM else signal.SIGTERM)
    assert worker.exit() == 0
    assert time.monotonic() - begun < 5
    assert_put_back_and_run_again(worker, ids, app, standalone, start_worker)


def test_an_idle_worker_ends_at_once(app: Path, standalone: str, start_worker: StartWorker) -> None:
    worker = start_worker(url=standalone)
    until_sync(lambda: blocked(standalone) == len(EVENTS))
    begun = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begun < 3
    assert [record["msg"] for record in lines(worker)] == ["worker.start", "worker.stop"]


# -- outages at boot


def refuse_connections(port: int, count: int) -> None:
    """Accept and close so many connections on a port: what tries again is seen trying."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(30)
        for _ in range(count):
            listener.accept()[0].close()


def test_redis_down_at_start_is_one_error_and_work_begins_when_it_is_up(
    app: Path, prefix: str, start_worker: StartWorker
) -> None:
    (port,) = free_ports(1)
    worker = start_worker(url=f"redis://127.0.0.1:{port}/0")
    worker.wait("redis.error")
    began = time.monotonic()
    refuse_connections(port, 6)
    assert worker.count("redis.recovered") == 0
    with StandaloneServer(port=port, password="") as server:
        (event_id,) = emit(server.url, prefix, "sanitized")
        worker.wait("event.end", event_id=event_id, outcome="completed")
        outage = (time.monotonic() - began) * 1000
        worker.wait("redis.recovered")
        assert worker.stop() == 0
    records = lines(worker)
    assert Counter(r["msg"] for r in records if r["msg"].startswith(("redis.", "queue."))) == {
        "redis.error": 1,
        "redis.recovered": 1,
    }
    (error,) = [record for record in records if record["msg"] == "redis.error"]
    assert (error["source"], error["node"], error["level"]) == ("connect", f"127.0.0.1:{port}", "ERROR")
    assert set(error["error"]) >= {"type", "message"}
    (recovered,) = [record for record in records if record["msg"] == "redis.recovered"]
    assert 0 < recovered["outage_ms"] < outage + 2000


def test_a_server_that_does_not_answer_at_start_is_one_error_too(
    app: Path, prefix: str, start_worker: StartWorker
) -> None:
    with StandaloneServer() as server:
        (event_id,) = emit(server.url, prefix, "sanitized")
        server.pause()
        worker = start_worker(url=server.url)
        worker.wait("redis.error")
        server.resume()
        worker.wait("event.end", event_id=event_id, outcome="completed")
        worker.wait("redis.recovered")
        assert worker.stop() == 0
    assert Counter(r["msg"] for r in lines(worker) if r["msg"].startswith("redis.")) == {
        "redis.error": 1,
        "redis.recovered": 1,
    }


def test_a_worker_that_never_reached_redis_stops_at_a_signal(app: Path, start_worker: StartWorker) -> None:
    worker = start_worker(url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    worker.wait("redis.error")
    assert worker.stop(5) == 0
    assert [record["msg"] for record in lines(worker)].count("redis.error") == 1


def test_a_wrong_password_is_an_auth_error(app: Path, start_worker: StartWorker) -> None:
    with StandaloneServer(password="right") as server:
        worker = start_worker(url=f"redis://:hunter22@127.0.0.1:{server.port}/0")
        worker.wait("redis.error", source="auth")
        assert worker.stop(5) == 0
    assert "hunter22" not in worker.log.read_text()


# -- SIGTERM under load

LOAD = """
import asyncio, random
from oxherd import Oxherd, Retry

herd = Oxherd(prefix=PREFIX)

@herd.event("load", concurrency=50)
async def load(number: int) -> None:
    await asyncio.sleep(random.uniform(0, 0.05))
"""
EVENTS_EACH_TIME = 200
TIMES = int(os.environ.get("OXHERD_SIGTERM_TIMES", "10"))


def test_sigterm_under_load_loses_nothing_and_runs_nothing_twice(
    write_app: WriteApp, standalone: str, prefix: str, start_worker: StartWorker
) -> None:
    write_app(LOAD)
    herd = Oxherd(standalone, prefix=prefix)
    event = herd.declare("load", int)
    workers = [start_worker(url=standalone, log=f"worker{number}.jsonl") for number in range(2)]
    for worker in workers:
        worker.wait("worker.start")
    emitted: list[str] = []
    for time_ in range(TIMES):
        older = workers[-2]
        before = older.count("event.begin")
        emitted += [str(each.id) for each in event.emit_many_sync(range(EVENTS_EACH_TIME))]
        older.wait("event.begin", count=before + random.randint(1, 20))
        assert older.stop() == 0, older.log.read_text()[-2000:]
        workers.append(start_worker(url=standalone, log=f"worker{time_ + 2}.jsonl"))
        workers[-1].wait("worker.start")
    herd.close_sync()
    until_sync(lambda: unfinished(standalone, prefix) == 0, deadline=60)
    for worker in workers[-2:]:
        assert worker.stop() == 0
    records = [record for worker in workers for record in lines(worker)]
    for worker in workers:
        assert_pairs(lines(worker))
    begins = Counter(record["event_id"] for record in records if record["msg"] == "event.begin")
    assert set(begins) == set(emitted)
    assert set(begins.values()) == {1}
    assert Counter(r["outcome"] for r in records if r["msg"] == "event.end") == {"completed": len(emitted)}
    assert Counter(r["level"] for r in records) == {"INFO": len(records)}
    own = {f"{prefix}:{{load}}:{name}" for name in ("events", "id", "marker", "meta", "stalled-check")}
    assert {key for key in keys(standalone, prefix) if ":history:" not in key} <= own


def unfinished(url: str, prefix: str) -> int:
    base = f"{prefix}:{{load}}:"
    return sum(cast("int", redis(url, "LLEN", base + name)) for name in ("wait", "active"))


def test_the_started_process_is_the_worker_itself(app: Path, standalone: str, start_worker: StartWorker) -> None:
    worker = start_worker(url=standalone)
    worker.wait("worker.start")
    children = subprocess.run(
        ["ps", "--ppid", str(worker.process.pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    assert children.stdout.strip() == ""
    assert worker.stop() == 0

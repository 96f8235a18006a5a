"""`run_in="process"`: a handler in a process of its own gives, logs and fails as any other, and can be ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxherd import DeclarationError, Oxherd
from oxherd.redis.blocking import Reply, command
from oxherd.redis.url import Address
from tests.harness import WorkerProcess, cli, environment, until_sync

APP = """
import contextvars, logging, os, signal, stat, sys, threading, time
from pydantic import BaseModel
from oxherd import Allow, Context, Discard, Keep, Oxherd, Retry

herd = Oxherd()
log = logging.getLogger("shop")

class OddError(Exception):
    pass

class Order(BaseModel):
    how: str
    email: str = "ann@example.org"

@herd.event("order.work", run_in="process", concurrency=2, timeout=TIMEOUT, retry=Retry(attempts=2, delay=0.1),
            keep=Keep(completed=100), sanitize=Allow("how"))
def work(order: Order, ctx: Context) -> dict[str, str | int]:
    log.info("at work", extra={"pid": os.getpid(), "how": order.how, "items": ["a", 1]})
    HOW[order.how](ctx, order)
    return {"id": str(ctx.id), "pid": os.getpid()}

@herd.event("order.results", run_in="process", keep=Keep(completed=100), max_payload=1000)
def results(how: str) -> object:
    return RESULTS[how]

RESULTS = {"object": object(), "surrogate": "\\ud800", "bytes": b"\\xff", "large": "x" * 10_000_000,
           "fits": ["x" * 900]}

@herd.event("order.simple", run_in="process")
def simple(order: Order) -> None:
    pass

def wait(ctx, order):
    while True:
        time.sleep(0.01)

def wait_once(ctx, order):
    while ctx.attempt == 1:
        time.sleep(0.01)

def obey(ctx, order):
    while ctx.cancelled is None:
        time.sleep(0.01)
    log.info("told", extra={"why": repr(ctx.cancelled)})

def reveal(ctx, order):
    log.info("mail to %s", order.email, extra={"to": [order.email]})
    threading.Thread(target=contextvars.copy_context().run, args=(log.warning, f"and to {order.email}")).start()
    try:
        raise ValueError(order.email)
    except ValueError:
        log.exception("no mail")

def odd(ctx, order):
    raise OddError(f"no such customer: {order.email}")

def discard(ctx, order):
    raise Discard("never again")

def segfault(ctx, order):
    os.kill(os.getpid(), signal.SIGSEGV)

def progress(ctx, order):
    ctx.progress_sync({"done": 5})
    ctx.note_sync("half done")
    try:
        ctx.progress_sync(object())
    except Exception as error:
        log.info("refused", extra={"type": type(error).__name__})

def trouble(ctx, order):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("in trouble")

def garble(ctx, order):
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"hello, this is no frame")
        except OSError:
            pass
    time.sleep(60)

def signalled(ctx, order):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)

def fork(ctx, order):
    forked = os.fork()
    if not forked:
        log.info("lost in the fork")
        time.sleep(60)
    log.info("forked", extra={"forked": forked})
    os._exit(7)

def outlive(ctx, order):
    threading.Thread(target=report_late, args=[ctx], daemon=True).start()

def report_late(ctx):
    late.wait()
    try:
        ctx.note_sync("late")
    except Exception as error:
        log.info("too late", extra={"why": str(error)})
    reported.set()

def release(ctx, order):
    late.set()
    reported.wait()

late, reported = threading.Event(), threading.Event()
HOW = {"fine": lambda ctx, order: print("printed"), **globals()}
"""


class Shop:
    """A project with an embedded server and a worker."""

    def __init__(self, folder: Path, start_worker: Callable[..., WorkerProcess]) -> None:
        self.folder = folder
        self._start = start_worker
        self.app(APP)
        (folder / "pyproject.toml").touch()

    def app(self, text: str, *, timeout: float | None = None) -> None:
        (self.folder / "app.py").write_text(text.replace("TIMEOUT", repr(timeout)))

    def worker(self, *arguments: str, **options: Any) -> WorkerProcess:
        worker = self._start(*arguments, url="", **options)
        worker.wait("worker.start")
        return worker

    def emit(self, *hows: str) -> list[str]:
        lines = "".join(json.dumps({"how": how}) + "\n" for how in hows)
        emitted = cli(self.folder, "emit", "app:herd", "order.work", "-", stdin=lines)
        assert emitted.returncode == 0, emitted.stderr
        return emitted.stdout.split()

    def stored(self, event_id: str, field: str) -> Reply:
        socket = Address(path=str(self.folder / ".oxherd" / "valkey.sock"))
        return command(socket, "HGET", f"bull:{{order.work}}:{event_id}", field)

    def notes(self, event_id: str) -> Reply:
        socket = Address(path=str(self.folder / ".oxherd" / "valkey.sock"))
        return command(socket, "LRANGE", f"bull:{{order.work}}:{event_id}:logs", "0", "-1")


@pytest.fixture
def shop(tmp_path: Path, start_worker: Callable[..., WorkerProcess]) -> Shop:
    return Shop(tmp_path, start_worker)


def found(worker: WorkerProcess, message: str, **fields: Any) -> list[dict[str, Any]]:
    worker.wait(message, **fields)
    return [
        record
        for record in worker.records()
        if record["msg"] == message and all(record.get(key) == value for key, value in fields.items())
    ]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_result_records_and_prints_come_back_from_the_process(shop: Shop) -> None:
    worker = shop.worker()
    fine, trouble, progress = shop.emit("fine", "trouble", "progress")
    for event_id in (fine, trouble, progress):
        worker.wait("event.end", event_id=event_id, outcome="completed")
    (record,) = found(worker, "at work", event_id=fine)
    assert record["pid"] != worker.process.pid
    assert record | {"logger": "shop", "event": "order.work", "attempt": 1, "items": ["a", 1]} == record
    assert json.loads(str(shop.stored(fine, "returnvalue"))) == {"id": fine, "pid": record["pid"]}
    (told,) = found(worker, "in trouble", event_id=trouble)
    assert told["level"] == "ERROR"
    assert told["exception"].endswith("ZeroDivisionError: division by zero")
    assert json.loads(str(shop.stored(progress, "progress"))) == {"done": 5}
    assert shop.notes(progress) == ["half done"]
    assert found(worker, "refused", event_id=progress)[0]["type"] == "OxherdError"
    assert worker.stop() == 0
    assert "printed\n" in worker.output.read_text()
    assert gone(record["pid"])


def test_a_result_that_cannot_be_stored_leaves_its_event_completed_and_the_process_where_it_is(shop: Shop) -> None:
    worker = shop.worker()
    hows = ("object", "surrogate", "bytes", "large", "fits")
    lines = "".join(f"{json.dumps(how)}\n" for how in hows)
    ids = cli(shop.folder, "emit", "app:herd", "order.results", "-", stdin=lines).stdout.split()
    worker.wait("event.end", count=5, outcome="completed", event="order.results")
    told = {record["event_id"]: record["error"]["message"] for record in found(worker, "result.dropped")}
    assert set(told) == set(ids[:4])
    assert "of type object, cannot be written" in told[ids[0]]
    assert "10000002 bytes of JSON and the limit is 1000 bytes" in told[ids[3]]
    socket = Address(path=str(shop.folder / ".oxherd" / "valkey.sock"))
    kept = [str(command(socket, "HGET", f"bull:{{order.results}}:{each}", "returnvalue")) for each in ids]
    assert [len(each) for each in kept] == [4, 4, 4, 4, 904]
    assert worker.stop() == 0


def test_one_process_serves_many_events_and_never_more_run_than_the_concurrency(shop: Shop) -> None:
    worker = shop.worker()
    shop.emit(*["fine"] * 30)
    worker.wait("event.end", 30, outcome="completed")
    assert 1 <= len({record["pid"] for record in found(worker, "at work")}) <= 2
    assert worker.stop() == 0


def test_a_handler_that_writes_to_the_connection_of_its_process_fails_at_once_and_the_worker_goes_on(
    shop: Shop,
) -> None:
    worker = shop.worker()
    garbled, fine = shop.emit("garble", "fine")
    (failed,) = found(worker, "event.end", event_id=garbled, outcome="failed")
    assert failed["error"]["type"] == "HandlerDied"
    assert "wrote to its connection" in failed["error"]["message"]
    assert failed["duration_ms"] < 10_000
    found(worker, "event.end", event_id=fine, outcome="completed")
    assert worker.stop() == 0


def test_what_a_handler_raises_keeps_its_name_and_its_place_and_hides_the_payload(shop: Shop) -> None:
    worker = shop.worker()
    odd, discarded = shop.emit("odd", "discard")
    worker.wait("event.end", event_id=odd, outcome="retrying")
    (end,) = found(worker, "event.end", event_id=odd, outcome="failed")
    assert end["error"]["type"] == "OddError"
    assert end["error"]["message"] == "no such customer: ***"
    assert re.fullmatch(r"app\.py:\d+ odd", end["error"]["stack"][-1])
    assert [frame.split()[-1] for frame in end["error"]["stack"]] == ["work", "odd"]
    (end,) = found(worker, "event.end", event_id=discarded)
    assert (end["outcome"], end["error"]["type"]) == ("discarded", "Discard")
    assert shop.stored(odd, "failedReason") == "no such customer: ***"
    assert worker.stop() == 0


def test_a_handler_that_is_over_its_timeout_is_killed_and_the_next_event_gets_a_new_process(shop: Shop) -> None:
    shop.app(APP, timeout=0.5)
    worker = shop.worker()
    waiting, fine = shop.emit("wait_once", "fine")
    (end,) = found(worker, "event.end", event_id=waiting, attempt=1)
    assert (end["outcome"], end["error"]["type"]) == ("retrying", "TimedOut")
    pid = found(worker, "at work", event_id=waiting, attempt=1)[0]["pid"]
    assert gone(pid)
    worker.wait("event.end", event_id=waiting, outcome="completed")
    worker.wait("event.end", event_id=fine, outcome="completed")
    assert worker.stop() == 0


def test_a_handler_that_ends_when_it_is_told_to_keeps_its_process(shop: Shop) -> None:
    shop.app(APP, timeout=0.3)
    worker = shop.worker()
    (obedient,) = shop.emit("obey")
    worker.wait("event.end", event_id=obedient, outcome="completed")
    assert found(worker, "told")[0]["why"] == "TimedOut(timeout=0.3)"
    (fine,) = shop.emit("fine")
    worker.wait("event.end", event_id=fine, outcome="completed")
    assert len({record["pid"] for record in found(worker, "at work")}) == 1
    assert worker.stop() == 0


def test_an_event_whose_process_is_killed_is_tried_again(shop: Shop) -> None:
    worker = shop.worker()
    (event_id,) = shop.emit("wait_once")
    os.kill(found(worker, "at work", event_id=event_id)[0]["pid"], signal.SIGKILL)
    (end,) = found(worker, "event.end", event_id=event_id, outcome="retrying")
    assert end["error"] == {"type": "HandlerDied", "message": "the process of the handler died (signal 9)"}
    worker.wait("event.end", event_id=event_id, attempt=2, outcome="completed")
    assert worker.stop() == 0


def test_a_segfault_fails_its_event_and_not_the_worker(shop: Shop) -> None:
    worker = shop.worker()
    broken, fine = shop.emit("segfault", "fine")
    (end,) = found(worker, "event.end", event_id=broken, outcome="failed")
    assert end["error"]["message"] == "the process of the handler died (signal 11)"
    worker.wait("event.end", event_id=fine, outcome="completed")
    assert worker.stop() == 0


def test_a_stop_puts_back_what_does_not_end_in_time_and_leaves_no_process(shop: Shop) -> None:
    worker = shop.worker("--stop-timeout", "0.2")
    waiting, obedient = shop.emit("wait", "obey")
    worker.wait("at work", 2)
    assert worker.stop() == 0
    worker.wait("event.end", event_id=waiting, outcome="requeued")
    worker.wait("event.end", event_id=obedient, outcome="completed")
    assert found(worker, "told")[0]["why"] == "Stopping()"
    assert all(gone(record["pid"]) for record in found(worker, "at work"))


def test_processes_end_with_a_worker_that_is_killed(shop: Shop) -> None:
    worker = shop.worker()
    shop.emit("wait")
    pid = found(worker, "at work")[0]["pid"]
    worker.signal(signal.SIGKILL)
    worker.exit()
    until_sync(lambda: gone(pid))


def test_a_process_leaves_signals_to_the_worker(shop: Shop) -> None:
    worker = shop.worker()
    (event_id,) = shop.emit("signalled")
    worker.wait("event.end", event_id=event_id, outcome="completed")
    assert worker.stop() == 0


def test_a_module_that_cannot_be_imported_in_the_process_fails_the_event(shop: Shop) -> None:
    shop.app(APP + '\nif "oxherd.worker.executors.child" in sys.orig_argv:\n    raise RuntimeError("not here")\n')
    worker = shop.worker()
    (event_id,) = shop.emit("fine")
    (end,) = found(worker, "event.end", event_id=event_id, outcome="failed")
    assert end["error"]["type"] == "ConfigError"
    assert end["error"]["message"].startswith("app cannot be imported in the process of its handler: RuntimeError at")
    assert worker.stop() == 0


def test_a_note_of_an_event_that_has_ended_does_not_become_the_next_ones(shop: Shop) -> None:
    worker = shop.worker()
    (outlived,) = shop.emit("outlive")
    worker.wait("event.end", event_id=outlived, outcome="completed")
    (event_id,) = shop.emit("release")
    worker.wait("event.end", event_id=event_id, outcome="completed")
    assert found(worker, "too late")[0]["why"] == "The note was not stored: the event has ended."
    assert shop.notes(event_id) == []
    assert worker.stop() == 0


def test_the_start_of_a_process_does_not_count_as_the_time_of_its_handler(shop: Shop) -> None:
    shop.app(APP + '\nif "oxherd.worker.executors.child" in sys.orig_argv:\n    time.sleep(1)\n', timeout=0.5)
    worker = shop.worker()
    (event_id,) = shop.emit("fine")
    worker.wait("event.end", event_id=event_id, attempt=1, outcome="completed")
    assert worker.stop() == 0


def test_a_stop_while_a_process_is_being_started_puts_the_event_back(shop: Shop) -> None:
    importing = (
        'if "oxherd.worker.executors.child" in sys.orig_argv:\n'
        '    log.info("importing", extra={"pid": os.getpid()})\n'
        "    time.sleep(60)\n"
    )
    shop.app(f"{APP}\n{importing}")
    worker = shop.worker("--stop-timeout", "0.1")
    (event_id,) = shop.emit("fine")
    pid = found(worker, "importing")[0]["pid"]
    assert worker.stop() == 0
    worker.wait("event.end", event_id=event_id, outcome="requeued")
    until_sync(lambda: gone(pid))


def test_its_records_show_no_more_of_the_payload_than_the_log_does(shop: Shop) -> None:
    worker = shop.worker()
    (event_id,) = shop.emit("reveal")
    for message in ("mail to ***", "and to ***", "no mail"):
        worker.wait(message, event_id=event_id)
    (record,) = found(worker, "no mail", event_id=event_id)
    assert record["exception"].endswith("ValueError: ***")
    assert "ann@example.org" not in worker.log.read_text()


def test_what_a_handler_forks_has_no_part_in_the_connection(shop: Shop) -> None:
    worker = shop.worker()
    (event_id,) = shop.emit("fork")
    (end,) = found(worker, "event.end", event_id=event_id, outcome="failed")
    assert end["error"]["message"] == "the process of the handler died (exit status 7)"
    assert len(found(worker, "forked")) == 2
    for record in found(worker, "forked"):
        os.kill(record["forked"], signal.SIGKILL)
    assert worker.stop() == 0


def test_the_handlers_of_a_script_are_found_without_running_the_script_again(shop: Shop) -> None:
    end = """
if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s %(event_id)s", defaults={"event_id": ""}))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log.info("started")
    herd.run()
"""
    (shop.folder / "app.py").write_text(APP.replace("TIMEOUT", "None") + end)
    log = shop.folder / "script.log"
    with log.open("wb") as file:
        command = [sys.executable, "app.py"]
        script = subprocess.Popen(command, cwd=shop.folder, env=environment(OXHERD_URL=""), stderr=file, stdout=file)
    try:
        (event_id,) = shop.emit("fine")
        until_sync(lambda: f"at work {event_id}" in log.read_text())
        until_sync(lambda: f"event.end {event_id}" in log.read_text())
        assert log.read_text().count("started") == 1
        script.terminate()
        assert script.wait(20) == 0
    finally:
        script.kill()
        script.wait()


def test_a_handler_that_no_other_process_can_import_is_refused() -> None:
    herd = Oxherd("redis://nowhere")

    def inside(order: dict[str, int]) -> None: ...

    anonymous: Callable[[dict[str, int]], None] = lambda order: None  # noqa: E731
    anonymous.__annotations__ = {"order": dict[str, int]}
    for function in (inside, anonymous):
        with pytest.raises(DeclarationError, match="make it a def at the top level of a module"):
            herd.event("order.placed", run_in="process")(function)


def test_a_handler_without_a_file_is_refused() -> None:
    code = """
from oxherd import DeclarationError, Oxherd
def handle(order: dict[str, int]) -> None: ...
try:
    Oxherd().event("order.placed", run_in="process")(handle)
except DeclarationError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "put it in a file, and run or import that" in told.stdout

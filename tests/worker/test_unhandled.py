"""What fails beside the handlers of a worker process is reported without its text, which may quote a payload."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import WorkerProcess, cli

APP = """
import asyncio, gc, logging, threading, time, warnings
from typing import Annotated
from pydantic import BaseModel
from oxherd import Mask, Oxherd, Retry

herd = Oxherd()

class Order(BaseModel):
    card: Annotated[str, Mask()] = "4111 1111 1111 1111"
    email: Annotated[str, Mask("email")] = "alice.canary@example.com"

class Careless:
    def __init__(self, text):
        self.text = text

    def __del__(self):
        raise ValueError(f"gone: {self.text}")

def boom(text):
    raise ValueError(f"no {text}")

def slow(text):
    time.sleep(0.15)

async def failing(text):
    boom(text)

def beside(order):
    text = f"{order.card} {order.email}"
    warnings.warn(f"late: {text}")
    Careless(text)
    threading.Thread(target=boom, args=(text,), name=f"charge {text}").start()

@herd.event("order.placed", retry=Retry(attempts=1))
async def placed(order: Order) -> None:
    text = f"{order.card} {order.email}"
    beside(order)
    task = asyncio.create_task(failing(text), name=f"charge {text}")
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    loop = asyncio.get_running_loop()
    loop.call_soon(boom, text)
    loop.call_later(0.01, slow, text)
    threading.Thread(target=loop.call_soon_threadsafe, args=(boom, text)).start()
    loop.create_future().set_exception(ValueError(text))
    gc.collect()
    await asyncio.sleep(0.3)

@herd.event("order.apart", run_in="process", retry=Retry(attempts=1))
def apart(order: Order) -> None:
    beside(order)
    asyncio.run(alone(order))

async def alone(order):
    asyncio.get_running_loop().call_soon(boom, order.email)
    asyncio.create_task(failing(order.card))
    await asyncio.sleep(0.05)
"""
REPORTS = [
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Exception in callback",
    "an error in Careless.__del__ was ignored",
    "an error ended a thread",
]


@pytest.mark.parametrize("debug", ["", "1"])
def test_no_value_is_in_what_python_reports_beside_the_handlers(
    tmp_path: Path, standalone: str, monkeypatch: pytest.MonkeyPatch, debug: str
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", debug)
    (tmp_path / "app.py").write_text(APP)
    worker = WorkerProcess(tmp_path, url=standalone)
    try:
        worker.wait("worker.start")
        for event in ("order.placed", "order.apart"):
            assert cli(tmp_path, "emit", "app:herd", event, "{}", url=standalone).returncode == 0
            worker.wait("event.end", event=event, outcome="completed")
        assert worker.stop() == 0
    finally:
        worker.close()
    said = worker.log.read_text() + worker.output.read_text()
    assert not [value for value in ("4111", "canary") if value in said], said
    for report in REPORTS:
        error = next(record for record in worker.records() if record["msg"] == report)["error"]
        assert (error["type"], error["message"]) == ("ValueError", "<withheld>")
        assert report.startswith("Future") or re.fullmatch(r"app\.py:\d+ (boom|__del__)", error["stack"][-1])
    assert worker.count("event.end") == 2
    assert any(re.fullmatch(r"app\.py:\d+: UserWarning", record["msg"]) for record in worker.records())
    if debug:
        assert any(re.fullmatch(r"Executing '<withheld>' took .* seconds", each["msg"]) for each in worker.records())

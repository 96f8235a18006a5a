"""An application that sets up no logging, or switches it off by accident, still hears of errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness import run

APP = """
import asyncio, io, logging, logging.config, os, signal, sys
from oxherd import Context, Oxherd, Retry

CONFIG = {"version": 1, "handlers": {"out": {"class": "logging.StreamHandler"}},
          "root": {"handlers": ["out"], "level": "INFO"}}
INI = "[loggers]\\nkeys=root\\n[handlers]\\nkeys=out\\n[formatters]\\nkeys=\\n[logger_root]\\nhandlers=out\\n" \\
      "[handler_out]\\nclass=StreamHandler\\nargs=()\\n"
log = logging.getLogger("oxherd")
herd = Oxherd(prefix=sys.argv[1])

@herd.event("order.placed", retry=Retry(attempts=1))
async def order_placed(number: int, ctx: Context) -> None:
    ctx.log.warning("about to fail")
    SETUP if number == 2 else None
    os.kill(os.getpid(), signal.SIGTERM)
    raise RuntimeError("no such order")

async def in_process() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with herd:
        await herd.start()
        await order_placed.emit(NUMBER)
        await told.wait()

def owned() -> None:
    order_placed.emit_sync(NUMBER)
    herd.run()
"""
NOTHING = "None"
SETUPS = {
    "nothing is set up": NOTHING,
    "dictConfig disables existing loggers": "logging.config.dictConfig(CONFIG)",
    "fileConfig disables existing loggers": "logging.config.fileConfig(io.StringIO(INI))",
    "the logger is disabled": 'setattr(log, "disabled", True)',
    "the logger does not propagate": 'setattr(log, "propagate", False)',
    "dictConfig takes the logger's handlers": 'logging.config.dictConfig({"version": 1, "loggers": {"oxherd": {}}})',
}


def said_by(folder: Path, url: str, prefix: str, how: str, setup: str, number: int = 1) -> str:
    before = "" if number == 2 else setup
    source = APP.replace("SETUP", setup if number == 2 else NOTHING).replace("NUMBER", str(number))
    (folder / "app.py").write_text(f"{source}\n{before}\n{how}\n")
    done = run(folder, sys.executable, "app.py", prefix, OXHERD_URL=url)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [1, 2], ids=["before the start", "by a handler"])
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_a_worker_in_an_application_is_never_silent_about_errors(
    setup: str, number: int, tmp_path: Path, standalone: str, prefix: str
) -> None:
    said = said_by(tmp_path, standalone, prefix, "asyncio.run(in_process())", setup, number)
    assert "event.end" in said or "RuntimeError: no such order" in said
    assert "about to fail" in said


def test_without_any_setup_an_error_names_its_event_and_reason(tmp_path: Path, standalone: str, prefix: str) -> None:
    said = said_by(tmp_path, standalone, prefix, "asyncio.run(in_process())", NOTHING)
    assert said.startswith("about to fail\n")
    assert "order.placed" in said
    assert "RuntimeError: no such order" in said
    assert "begin" not in said


def test_an_application_that_wants_no_last_resort_gets_none(tmp_path: Path, standalone: str, prefix: str) -> None:
    said = said_by(tmp_path, standalone, prefix, "asyncio.run(in_process())", "logging.lastResort = None")
    assert "no such order" not in said


def test_herd_run_logs_as_the_command_does_where_nothing_is_set_up(
    tmp_path: Path, standalone: str, prefix: str
) -> None:
    said = said_by(tmp_path, standalone, prefix, "owned()", NOTHING)
    for part in ("worker.start", "  begin", "RuntimeError: no such order", "worker.stop"):
        assert part in said


def test_herd_run_leaves_logging_that_is_set_up_alone(tmp_path: Path, standalone: str, prefix: str) -> None:
    said = said_by(
        tmp_path, standalone, prefix, "owned()", "logging.basicConfig(level=logging.ERROR, format='own %(msg)s')"
    )
    assert said == "own event.end\n"

"""What a user's module raises while it is imported comes with its traceback, from its own first frame on."""

from __future__ import annotations

import signal

import pytest

from tests.cli.support import WriteApp, start
from tests.harness import cli

DECLARES = "from oxherd import Oxherd\nherd = Oxherd()\n"
# The module, and what is said last; the error passes its second line.
MODULES = {
    "an error": ("x = 1\nraise RuntimeError('wrong')", "RuntimeError: wrong"),
    "an error in the standard library": ("import os\nos.environ['NOT_SET']", "KeyError: 'NOT_SET'"),
    "no syntax": ("x = 1\ndef (:", "SyntaxError: invalid syntax"),
    "an exit": ("import sys\nsys.exit('no settings')", "SystemExit: no settings"),
    "an error that is no Exception": ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    "a warning as an error": ("import warnings\nwarnings.warn('old', FutureWarning)", "FutureWarning: old"),
    "a missing dependency": ("x = 1\nimport not_there", "ModuleNotFoundError: No module named 'not_there'"),
    "an error in a submodule": ("x = 1\nimport other", "ZeroDivisionError: division by zero"),
    "a circular import": ("x = 1\nimport circular", "(most likely due to a circular import)"),
    "an attribute that raises": ("def __getattr__(name):\n    raise RuntimeError('lazy')", "RuntimeError: lazy"),
}


@pytest.mark.parametrize("what", MODULES)
def test_an_error_of_the_users_module_comes_with_their_own_frames(
    what: str, write_app: WriteApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error::FutureWarning")
    source, said = MODULES[what]
    folder = write_app(source)
    (folder / "other.py").write_text("1 / 0")
    (folder / "circular.py").write_text("from app import herd")
    done = cli(folder, "check", "app:herd")
    assert (done.returncode, done.stdout) == (2, "")
    *shown, last = done.stderr.splitlines()
    assert said in shown[-1]
    assert last.startswith("oxherd: app ")
    first = next(line for line in shown if line.startswith("  File "))
    assert first.startswith(f'  File "{folder / "app.py"}", line 2')
    assert "importlib" not in done.stderr
    assert "oxherd/cli" not in done.stderr


def test_a_missing_dependency_is_told_from_a_missing_module(write_app: WriteApp) -> None:
    done = cli(write_app("import not_there"), "check", "app:herd")
    assert done.stderr.splitlines()[-1].startswith("oxherd: app imports 'not_there', which cannot be found")


def test_a_wrong_declaration_names_its_line_and_needs_no_traceback(write_app: WriteApp) -> None:
    done = cli(write_app(f"{DECLARES}herd.declare('a b', int)"), "check", "app:herd")
    assert done.returncode == 2
    assert done.stderr.startswith("oxherd: 'a b' is no event name")
    assert done.stderr.endswith("(app.py, line 3)\n")
    assert done.stderr.count("\n") == 1


def test_a_traceback_steers_no_terminal(write_app: WriteApp) -> None:
    done = cli(write_app("raise ValueError(chr(27) + '[31mred' + chr(0x202e))"), "check", "app:herd")
    assert r"ValueError: \x1b[31mred\u202e" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_worker_says_which_events_have_no_handler(write_app: WriteApp, standalone: str) -> None:
    folder = write_app(
        "from oxherd import Oxherd\nherd = Oxherd(prefix=PREFIX)\nherd.declare('billed', int)\n"
        "@herd.event('placed')\nasync def placed(number: int) -> None: ..."
    )
    worker = start(folder, "worker", "app:herd", url=standalone)
    assert worker.stderr is not None
    line = worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    assert "worker.start" in line
    assert line.rstrip().endswith("(no handler is imported for billed)")


def test_a_worker_without_any_handler_names_the_events(write_app: WriteApp, standalone: str) -> None:
    done = cli(write_app(f"{DECLARES}herd.declare('billed', int)"), "worker", "app:herd", url=standalone)
    assert done.returncode == 2
    assert "No handler is imported here for billed" in done.stderr

"""Processes that we start run as the one that starts them, and a project's files replace no module of others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from oxherd.worker.executors.interpreter import interpreter_options
from tests.harness import run

SHADOWS = (
    "asyncio", "contextlib", "email", "enum", "hiredis", "json", "linecache", "logging", "pydantic", "queue", "redis",
    "signal", "socket", "token", "tokenize", "types", "typing",
)  # fmt: skip
APP = """
import sys
from oxherd import Oxherd, Retry

herd = Oxherd(prefix=PREFIX)

@herd.event("asked", run_in="process", retry=Retry(attempts=1))
def asked(number: int) -> None:
    asked.herd["answered"].emit_sync([sys.flags.optimize, sys.flags.utf8_mode, sys.warnoptions])

@herd.event("answered", retry=Retry(attempts=1))
async def answered(answer: list) -> None:
    import os, signal
    flags = [sys.flags.optimize, sys.flags.utf8_mode, sys.warnoptions]
    print(answer == flags, *answer, flush=True)
    os.kill(PID, signal.SIGTERM)
    raise RuntimeError("for a traceback, which loads modules")
"""


@pytest.mark.parametrize("options", [[], ["--processes", "2"], ["--reload"]], ids=["one", "two", "reload"])
def test_workers_and_handlers_processes_keep_the_options_of_python_and_load_no_file_of_the_project_by_mistake(
    options: list[str], tmp_path: Path, standalone: str, prefix: str
) -> None:
    pid = "os.getppid()" if options else "os.getpid()"
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", repr(prefix)).replace("PID", pid))
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise ImportError('this is the project, not the library')")
    oxherd = [str(Path(sys.executable).with_name("oxherd"))]
    python = [sys.executable, "-O", "-Xutf8=1", "-W", "ignore::ResourceWarning", *oxherd]

    run(tmp_path, *python, "emit", "app:herd", "asked", "1", OXHERD_URL=standalone).check_returncode()
    done = run(tmp_path, *python, "worker", "app:herd", *options, OXHERD_URL=standalone)
    assert done.stdout == "True 1 1 ['ignore::ResourceWarning']\n", done.stderr
    assert done.returncode == 0


# What Python is given, and what of it a process that we start is given.
OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], []),
    "a module": (["-m", "oxherd", "worker", "-O"], []),
    "a script": (["app.py", "-O"], []),
    "code": (["-c", "pass", "-O"], []),
    "one by one": (["-O", "-E", "-s", "-B", "-u", "app.py"], ["-O", "-E", "-s", "-B", "-u"]),
    "together": (["-OEsm", "oxherd"], ["-O", "-E", "-s"]),
    "twice": (["-OO", "-bb"], ["-O", "-O", "-b", "-b"]),
    "isolated": (["-I", "-m", "oxherd"], ["-I"]),
    "values": (
        ["-X", "dev", "-Xutf8", "-W", "error", "-Wdefault", "-m", "a"],
        ["-Xdev", "-Xutf8", "-Werror", "-Wdefault"],
    ),
    "a value after others": (["-BX", "dev", "app.py"], ["-B", "-Xdev"]),
    "a long one": (["--check-hash-based-pycs", "never", "-O", "a"], ["--check-hash-based-pycs", "never", "-O"]),
    "its own prompt": (["-iO", "app.py"], ["-O"]),
    "standard input": (["-O", "-", "-B"], ["-O"]),
    "another program's": (["--http", ":80"], []),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_the_options_of_python_are_told_from_the_programs(what: str) -> None:
    given, kept = OPTIONS[what]
    assert interpreter_options(given) == kept

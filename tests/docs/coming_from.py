"""Runs the programs of the pages in docs/coming-from as they stand there: the peer's, and oxherd's."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.environments import Environment, environment_of
from benchmarks.systems import System, named
from tests.harness import environment, run

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "coming-from"
ENVIRONMENTS = ROOT / "benchmarks" / ".envs"
LOCAL = "redis://localhost:6379/0"  # what the pages' programs name
MODULES = {"rq": "rq.cli"}
TESTS = ("pytest", "node --test")
FURTHER = {"dramatiq": ("apscheduler==3.11.3",)}  # what a page's program needs, and the benchmark's does not


@dataclass(frozen=True)
class Section:
    """A part of a page: its files, its commands in order, and what each prints."""

    files: dict[str, str]
    commands: tuple[tuple[str, tuple[str, ...]], ...]

    def workers(self, url: str) -> list[str]:
        """Commands that go on, and print nothing on the page."""
        return [
            command.replace(LOCAL, url) for command, printed in self.commands if not printed and command not in TESTS
        ]

    def write(self, folder: Path, url: str) -> None:
        """Put its files into a folder, about that server; settings of a project are added to those that are there."""
        for name, text in self.files.items():
            with (folder / name).open("a" if name == "mysite/settings.py" else "w") as file:
                file.write(text.replace(LOCAL, url))


def section(page: str, heading: str, level: str = "###") -> Section:
    """What stands below a heading, up to the next one of its level or above."""
    text = (PAGES / f"{page}.md").read_text()
    found = re.search(
        rf"^{level} {re.escape(heading)}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found is not None, heading
    named = re.findall(r"^```(?:python|js)\n(?:#|//) (\S+/\S+)\n(.*?)^```$", found[1], re.DOTALL | re.MULTILINE)
    files = {re.sub("^(before|after|moving|bull)/", "", name): text for name, text in named}
    consoles = "".join(re.findall(r"^```console\n(.*?)^```$", found[1], re.DOTALL | re.MULTILINE))
    commands = [part.splitlines() for part in re.split(r"^\$ ", consoles, flags=re.MULTILINE) if part]
    return Section(files, tuple((first, tuple(printed)) for first, *printed in commands))


def environment_once(system: System) -> Environment:
    """The system's environment, which the first of several test processes makes."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{system.key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return environment_of(system)


def packages_of(peer: str) -> str:
    """Where the peer's packages are, at the versions that are measured."""
    [system] = named([peer])
    if peer in FURTHER:
        system = replace(system, key=f"{peer}-page", packages=(*system.packages, *FURTHER[peer]))
    home = Path(environment_once(system).interpreter).parents[1]
    return sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})


def command_line(command: str) -> Sequence[str]:
    """How a command of a page is started here, by this very Python."""
    name, *arguments = shlex.split(command)
    if name == "node":
        return (str(shutil.which("node")), *arguments)
    if name == "python":
        return (sys.executable, *arguments)
    return (sys.executable, "-m", MODULES.get(name, name), *arguments)


@contextmanager
def started(folder: Path, commands: Sequence[str], **variables: str) -> Generator[dict[str, Path]]:
    """The commands, running, and the file that each writes to; they are told to end."""
    logs = {command: folder / f"{number}.log" for number, command in enumerate(commands)}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command, log in logs.items():
            with log.open("wb") as output:
                processes.append(
                    subprocess.Popen(
                        command_line(command),
                        cwd=folder,
                        env=environment(**variables),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                )
        yield logs
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end, and end what it has left behind."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def assert_prints_what_it_says(part: Section, folder: Path, url: str, **variables: str) -> None:
    """Start the section's workers, run its other commands, and compare what they print."""
    part.write(folder, url)
    with started(folder, part.workers(url), **variables) as logs:
        for command, printed in part.commands:
            if command in TESTS:
                ran = run(folder, *command_line(command), timeout=120, **variables)
                assert ran.returncode == 0, ran.stdout + ran.stderr
            elif printed:
                ran = run(folder, *command_line(command), timeout=120, **variables)
                said = "\n".join(log.read_text() for log in logs.values())
                assert ran.stdout.splitlines() == list(printed), ran.stderr + said

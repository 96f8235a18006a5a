"""The Dockerfile's steps, run in a folder, and its image's commands, as confined as its containers are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.harness import environment

ROOT = Path(__file__).parents[2]
# As Docker does: a root file system that is read-only, an empty /tmp, a user without rights, and process 1. The image's
# folder stays visible below /tmp.
_CONFINED = """
set -e
mount -o remount,bind,ro /
mount --bind "$1" /mnt
mount -t tmpfs tmpfs /tmp
mkdir -p "$1"
mount --bind /mnt "$1"
mount -o remount,bind,ro "$1"
cd "$2"
shift 2
exec unshare --user --map-user=10001 --map-group=10001 "$@"
"""
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def instructions(dockerfile: str) -> list[list[tuple[str, str]]]:
    """The instructions of each stage: keyword and rest."""
    text = "\n".join(line for line in dockerfile.splitlines() if not line.startswith("#"))
    lines = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    stages: list[list[tuple[str, str]]] = []
    for keyword, rest in lines:
        if keyword == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((keyword, rest))
    return stages


def settings(rest: str) -> Iterator[tuple[str, str]]:
    """The variables of an ENV."""
    for pair in rest.split():
        name, _, value = pair.partition("=")
        yield name, value


@dataclass
class Image:
    """What a Dockerfile makes, in a folder: its virtual environment, its application, and its variables."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])
    command: list[str] = field(default_factory=list[str])

    @property
    def venv(self) -> Path:
        """Its /venv."""
        return self.folder / "venv"

    @property
    def app(self) -> Path:
        """Its /app, in which commands begin."""
        return self.folder / "app"

    def build(self, dockerfile: str, context: Path, **given: str) -> None:
        """Run the steps of a Dockerfile of two stages, on this machine's Python, with these variables as well."""
        build, final = instructions(dockerfile)
        work = self.folder / "build"
        variables = dict(given)
        for keyword, rest in build:
            if keyword == "ENV":
                variables |= {name: self._here(value) for name, value in settings(rest)}
            elif keyword == "COPY":
                _copy(context, rest, work)
            elif keyword == "RUN":
                _step(self._here(rest), work, variables)
        for keyword, rest in final:
            if keyword == "COPY" and rest != "--from=build /venv /venv":
                _copy(context, rest, self.app)

    def read(self, dockerfile: str) -> None:
        """Take the variables and the command of the Dockerfile that it was built from."""
        for keyword, rest in instructions(dockerfile)[-1]:
            if keyword == "ENV":
                self.variables |= dict(settings(rest))
            elif keyword == "CMD":
                self.command = json.loads(rest)
        # As in a container, where no other folder is on the path.
        self.variables["PATH"] = f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        # As in a container, where no other folder is on the path.
        self.variables["PATH"] = f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin"

    def _here(self, text: str) -> str:
        return text.replace("/venv", str(self.venv))

    def start(self, *command: str, log: Path, **variables: str) -> Container:
        """Start a command as a container would run it, with these variables and the image's own alone."""
        confined = [*_UNSHARE, "sh", "-c", _CONFINED, "sh", str(self.folder), str(self.app), *command]
        with log.open("ab") as output:
            process = subprocess.Popen(
                confined if can_confine() else command,
                cwd=self.app,
                env={"LANG": "C.UTF-8", **self.variables, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return Container(process, log)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this environment to its end, as `docker exec` would."""
        return subprocess.run(
            command,
            cwd=self.app,
            env={"LANG": "C.UTF-8", **self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@dataclass
class Container:
    """A started command and what it has said."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All of its output."""
        return self.log.read_text()

    def signal(self, number: int) -> None:
        """Send a signal to the command itself, which is process 1 where it is confined."""
        if can_confine():
            task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            os.kill(int(task.read_text()), number)
        else:
            self.process.send_signal(number)

    def close(self) -> None:
        """End it for certain."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@cache
def can_confine() -> bool:
    """Whether this system lets its users make namespaces."""
    probe = [*_UNSHARE, "sh", "-c", _CONFINED, "sh", str(ROOT), str(ROOT), "true"]
    return sys.platform == "linux" and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _copy(context: Path, rest: str, folder: Path) -> None:
    *sources, target = rest.split()
    for source in sources:
        origin = context / source
        goal = folder / target.removesuffix("/")
        if origin.is_dir():
            shutil.copytree(origin, goal, ignore=shutil.ignore_patterns("__pycache__", ".oxherd"), dirs_exist_ok=True)
        else:
            if target.endswith("/"):
                goal /= origin.name
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, goal)


def _step(script: str, folder: Path, variables: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        env=environment(**own, **variables),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, (script, done.stdout[-2000:], done.stderr[-2000:])

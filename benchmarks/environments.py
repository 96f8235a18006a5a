"""Each peer's own environment under `.envs/`: a venv, or a folder of Node's packages, at the table's exact versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.systems import System

ROOT = Path(__file__).parent.parent
ENVS = Path(__file__).parent / ".envs"
_PLOTS = ("matplotlib==3.11.2",)
_PATIENCE = 600.0  # seconds for one environment


class EnvironmentFailed(Exception):
    """A peer's environment could not be made; the text is one line."""


@dataclass(frozen=True)
class Environment:
    """The interpreter that runs a system, what its processes find in their environment, and its packages."""

    interpreter: str
    variables: dict[str, str]
    packages: dict[str, str]


def environment_of(system: System) -> Environment:
    """The system's environment, made if it is not there or is of other versions."""
    shared = {"PYTHONPATH": str(system.home.parent / "shared"), "PYTHONDONTWRITEBYTECODE": "1"}
    if system.kind == "checkout":
        shared["PYTHONPATH"] += os.pathsep + str(ROOT / "src")
        return Environment(sys.executable, shared, _python_packages(sys.executable))
    if system.kind == "node":
        folder = ENVS / system.key
        _once(folder, system.packages, _install_node)
        return Environment(_tool("node"), {"BENCH_MODULES": str(folder / "node_modules")}, _node_packages(folder))
    python = python_with(system.key, system.packages)
    return Environment(python, shared, _python_packages(python))


def plots_python() -> str:
    """The interpreter that has matplotlib."""
    return python_with("plots", _PLOTS)


def python_with(name: str, packages: tuple[str, ...]) -> str:
    """The interpreter of an environment of that name with these packages, made if it is not there or has others.

    It is of the Python that runs this: all peers of one run are.
    """
    folder = ENVS / name
    _once(folder, packages, _install_python, of=sys.version)
    return str(folder / "bin" / "python")


def _once(folder: Path, packages: tuple[str, ...], install: object, of: str = "") -> None:
    stamp = folder / "installed.json"
    made = json.dumps([of, *packages])
    if stamp.exists() and stamp.read_text() == made:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    assert callable(install)
    install(folder, packages)
    # Written last: what was interrupted is made again.
    stamp.write_text(made)


def _install_python(folder: Path, packages: tuple[str, ...]) -> None:
    uv = _uv()
    python = str(folder / "bin" / "python")
    if uv is not None:
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        if packages:
            _run([uv, "pip", "install", "--quiet", "--python", python, *packages])
    else:
        _run([sys.executable, "-m", "venv", str(folder)])
        if packages:
            _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


def _install_node(folder: Path, packages: tuple[str, ...]) -> None:
    (folder / "package.json").write_text('{"private": true}')
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    _run([_tool("npm"), "install", *quiet, *packages], folder)


def _uv() -> str | None:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else shutil.which("uv")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EnvironmentFailed(f"{name} was not found: install Node.js")
    return found


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise EnvironmentFailed(f"{Path(command[0]).name} failed: {(lines or ['without a word'])[-1][:160]}")


_LIST = """
import importlib.metadata as m, json
print(json.dumps({d.metadata["Name"]: d.version for d in m.distributions()}))
"""


def _python_packages(python: str) -> dict[str, str]:
    done = subprocess.run([python, "-c", _LIST], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def _node_packages(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted((folder / "node_modules").glob("*/package.json")):
        package = json.loads(file.read_text())
        found[package["name"]] = package["version"]
    return found

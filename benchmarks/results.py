"""results.json: every sample of a run, and what it was run on."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.systems import System


def write_results(bench: Bench, out: Path, systems: list[System]) -> None:
    """Write the samples, failures, settings and the machine."""
    out.mkdir(parents=True, exist_ok=True)
    results = {
        "schema": 1,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": _machine() | {"server": bench.server.version},
        "options": asdict(bench.options),
        "systems": {system.key: _described(bench, system) for system in systems},
        "samples": bench.samples,
        "failures": bench.failures,
    }
    (out / "results.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")


class Results:
    """A results.json, to be asked."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.date: str = data["date"]
        self.machine: dict[str, Any] = data["machine"]
        self.options: dict[str, Any] = data["options"]
        self.systems: dict[str, dict[str, Any]] = data["systems"]
        self.samples: list[dict[str, Any]] = data["samples"]
        self.failures: list[dict[str, Any]] = data["failures"]

    def title(self, key: str) -> str:
        """A system's name for a reader."""
        return self.systems[key]["title"]

    def of(self, measurement: str, system: str, case: str) -> list[dict[str, Any]]:
        """The samples of all rounds."""
        return [one for one in self.samples if _is(one, measurement, system, case)]

    def failed(self, measurement: str, system: str, case: str) -> bool:
        """Whether such a run failed, or the system could not be set up."""
        return any(
            one["system"] == system and (one["measurement"] == "environment" or _is(one, measurement, system, case))
            for one in self.failures
        )

    def median(self, measurement: str, system: str, case: str, name: str) -> float | None:
        """The median over the rounds, if there is any."""
        values = [float(one[name]) for one in self.of(measurement, system, case)]
        return statistics.median(values) if values else None


def read_results(out: Path) -> Results:
    """The results that were written into that folder."""
    return Results(json.loads((out / "results.json").read_text()))


def _is(one: dict[str, Any], measurement: str, system: str, case: str) -> bool:
    return (one["measurement"], one["system"], one["case"]) == (measurement, system, case)


def _described(bench: Bench, system: System) -> dict[str, Any]:
    environment = bench.environments.get(system.key)
    return {
        "title": system.title,
        "kind": system.kind,
        "pinned": list(system.packages),
        "packages": environment.packages if environment else {},
        "settings": list(system.settings),
        "worker": " ".join(system.worker),
        "io_concurrency": system.io_concurrency,
    }


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    node = _said("node", "--version")
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "os": release.get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
        "node": node,
    }


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "none"

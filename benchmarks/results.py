"""results.json: every sample of a run, and what it was run on."""

from __future__ import annotations

import datetime
import json
import os
import platform
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
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": _machine() | {"server": bench.server.version},
        "options": asdict(bench.options),
        "systems": {system.key: _described(bench, system) for system in systems},
        "samples": bench.samples,
        "failures": bench.failures,
    }
    (out / "results.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")


def read_results(out: Path) -> dict[str, Any]:
    """The results that were written into that folder."""
    return json.loads((out / "results.json").read_text())


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

"""results.json: a section for each measurement, with its samples and what they were taken on."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.bench import Bench
from benchmarks.server import BUNDLED
from benchmarks.systems import System

Section: TypeAlias = "dict[str, Any]"

_LISTS = ("samples", "failures", "left_out")


def write_results(bench: Bench, out: Path, systems: list[System], earlier: Mapping[str, Section]) -> None:
    """Write a section for each measurement that has a sample or a failure; the others stay as they were."""
    shared = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": _machine(),
        "servers": {
            name: {"version": server.version, "allocator": server.allocator} for name, server in bench.servers.items()
        },
        "options": asdict(bench.options),
        "systems": {system.key: _described(bench, system) for system in systems},
    }
    lists = {"samples": bench.samples, "failures": bench.failures, "left_out": bench.left_out}
    sections = dict(earlier)
    for measurement in dict.fromkeys(one["measurement"] for one in (*bench.samples, *bench.failures)):
        if measurement != "environment":
            sections[measurement] = shared | {name: _about(measurement, lists[name]) for name in _LISTS}
    out.mkdir(parents=True, exist_ok=True)
    results = {"schema": 2, "sections": sections}
    (out / "results.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")


def read_sections(out: Path) -> dict[str, Section]:
    """The sections by measurement that were written into that folder; none where there is no results.json."""
    file = out / "results.json"
    if not file.exists():
        return {}
    data = json.loads(file.read_text())
    return data["sections"] if data["schema"] > 1 else _sections_of_schema_1(data)


class Results:
    """The sections of a results.json, to be asked."""

    def __init__(self, sections: Mapping[str, Section]) -> None:
        self.sections = sections
        self.systems: dict[str, dict[str, Any]] = {}
        for section in sections.values():
            self.systems = section["systems"] | self.systems
        self.samples = self._all("samples")
        self.failures = self._all("failures")

    def title(self, key: str) -> str:
        """A system's name for a reader."""
        return self.systems[key]["title"]

    def server(self, measurement: str, name: str) -> str:
        """A server's name, version and allocator for a reader; empty where that measurement had none of this name."""
        found = self.sections[measurement]["servers"].get(name) if measurement in self.sections else None
        if found is None:
            return ""
        return f"{found['version']} ({found['allocator']})" if found["allocator"] else found["version"]

    def of(self, measurement: str, system: str, case: str, server: str = BUNDLED) -> list[dict[str, Any]]:
        """The samples of all rounds."""
        return [one for one in self._in("samples", measurement) if _is(one, system, case, server)]

    def failed(self, measurement: str, system: str, case: str, server: str = BUNDLED) -> bool:
        """Whether such a run failed, or the system could not be set up."""
        return any(
            one["system"] == system and (one["measurement"] == "environment" or _is(one, system, case, server))
            for one in self._in("failures", measurement)
        )

    def left_out(self, measurement: str, system: str, case: str, server: str = BUNDLED) -> bool:
        """Whether such a run was left out in any round."""
        return any(_is(one, system, case, server) for one in self._in("left_out", measurement))

    def median(self, measurement: str, system: str, case: str, name: str, server: str = BUNDLED) -> float | None:
        """The median over the rounds, if there is any; none where a round was left out."""
        if self.left_out(measurement, system, case, server):
            return None
        values = [float(one[name]) for one in self.of(measurement, system, case, server)]
        return statistics.median(values) if values else None

    def _in(self, name: str, measurement: str) -> list[dict[str, Any]]:
        return self.sections[measurement][name] if measurement in self.sections else []

    def _all(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for section in self.sections.values():
            # What failed to be set up stands in every section of its run.
            found += [one for one in section[name] if one not in found] if name == "failures" else section[name]
        return found


def read_results(out: Path) -> Results:
    """The results that were written into that folder."""
    return Results(read_sections(out))


def _sections_of_schema_1(data: dict[str, Any]) -> dict[str, Section]:
    """All of one run, on one server, whose samples did not name it."""
    machine = dict(data["machine"])
    shared: Section = {
        "date": data["date"],
        "servers": {BUNDLED: {"version": machine.pop("server"), "allocator": ""}},
        "machine": machine,
        "options": data["options"],
        "systems": data["systems"],
        "left_out": [],
    }
    lists = {name: [one | {"server": BUNDLED} for one in data[name]] for name in ("samples", "failures")}
    return {
        measurement: shared | {name: _about(measurement, found) for name, found in lists.items()}
        for measurement in dict.fromkeys(one["measurement"] for one in data["samples"])
    }


def _about(measurement: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["measurement"] in (measurement, "environment")]


def _is(one: dict[str, Any], system: str, case: str, server: str) -> bool:
    return (one["system"], one["case"], one["server"]) == (system, case, server)


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

"""The benchmark suite works end to end, and its report has the counts."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import oxherd
from tests.harness import run

ROOT = Path(__file__).parent.parent


def _run(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = run(ROOT, sys.executable, "-m", module, *options, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the suite reads processor times from /proc")
def test_a_quick_run_counts_every_event_and_reports_it(tmp_path: Path) -> None:
    only = ["--only", "drain,emit,latency", "--out", str(tmp_path)]
    _run("benchmarks", "--quick", "--no-plots", "--systems", "oxherd", *only)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["failures"] == []
    samples = results["samples"]
    assert {sample["measurement"] for sample in samples} == {"drain", "emit", "latency"}
    for sample in samples:
        assert sample["events"] == sample["counted"] > 0
        if sample["measurement"] != "emit":
            assert sample["left"] == 0
            assert sample["logged_begins"] == sample["logged_ends"] == sample["events"]
    report = (tmp_path / "README.md").read_text()
    total = sum(sample["counted"] for sample in samples)
    assert f"{total:,} events were counted in {len(samples)} runs; 0 failed." in report
    assert re.search(r"^\| oxherd, with its log \| [\d,]+ \| [\d,]+ \| [\d,]+ \|", report, re.MULTILINE)
    assert str(ROOT) not in report + json.dumps(results)


@pytest.mark.slow
def test_the_footprint_is_that_of_the_wheel_and_replaces_the_page_s_figures_only(tmp_path: Path) -> None:
    page = tmp_path / "footprint.md"
    text = (ROOT / "docs" / "benchmarks" / "footprint.md").read_text()
    page.write_text(text)
    _run("benchmarks.footprint", "--rounds", "1", "--only", "python,oxherd", "--page", str(page))
    before, _, rest = page.read_text().partition("<!-- figures: begin -->")
    figures, _, after = rest.partition("<!-- figures: end -->")
    assert text.startswith(before)
    assert text.endswith(after)
    assert re.search(r"^\| Python alone \| 0 \| 0 \| [1-9]\d* \|  \|$", figures, re.MULTILINE)
    named = re.escape(f"`oxherd` {oxherd.__version__}")
    row = re.search(rf"^\| {named} \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", figures, re.MULTILINE)
    assert row is not None
    packages, megabytes, import_ms, emit_ms = map(int, row.groups())
    required = [name for name in importlib.metadata.requires("oxherd") or () if "extra ==" not in name]
    assert packages > len(required)
    assert min(megabytes, import_ms, emit_ms) > 0
    assert str(ROOT) not in figures


@pytest.mark.slow
def test_the_cost_of_telemetry_is_measured_for_every_case() -> None:
    done = _run("benchmarks.telemetry", "--rounds", "1", "--events", "300", "--json")
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({run["case"] for run in runs}) == len(runs) > 1
    assert {run["round"] for run in runs} == {0}
    assert all(run["events"] == 300 and run["rate"] > 0 and run["cpu_us"] > 0 for run in runs)
    assert done.stderr == ""

"""The benchmark suite works end to end, and its report has the counts."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import oxherd
from benchmarks.results import Results, read_results
from benchmarks.server import REDIS, redis_binary
from benchmarks.tables import LEFT_OUT, Table, over
from tests.harness import run

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "docs" / "benchmarks" / "results.json"

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="the suite reads processor times from /proc")


def _run(module: str, *options: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    done = run(ROOT, sys.executable, "-m", module, *options, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _quick_run(out: Path, only: str) -> Results:
    _run("benchmarks", "--quick", "--no-plots", "--systems", "oxherd", "--only", only, "--out", str(out))
    return read_results(out)


@pytest.mark.slow
@reads_proc
def test_a_quick_run_counts_every_event_and_reports_it(tmp_path: Path) -> None:
    results = _quick_run(tmp_path, "drain,emit,latency")
    assert results.failures == []
    assert set(results.sections) == {"drain", "emit", "latency"}
    for sample in results.samples:
        assert sample["events"] == sample["counted"] > 0
        if sample["measurement"] != "emit":
            assert sample["left"] == 0
            assert sample["logged_begins"] == sample["logged_ends"] == sample["events"]
    report = (tmp_path / "README.md").read_text()
    total = sum(sample["counted"] for sample in results.samples)
    assert f"{total:,} events were counted in {len(results.samples)} runs; 0 failed." in report
    drained = re.findall(r"^\| oxherd, with its log \| [\d,]+ \| [\d,]+ \| [\d,]+ \| .* % \|$", report, re.MULTILINE)
    assert len(drained) == (1 if redis_binary() is None else 2)
    assert ("\n### On Redis " in report) == (redis_binary() is not None)
    # A busy machine may not reach the loads, which has its sign.
    at_loads = rf"^\| oxherd, with its log \| [\d.,]+ \| ([\d.,]+|{LEFT_OUT}) \| ([\d.,]+|{LEFT_OUT}) \|$"
    assert len(re.findall(at_loads, report, re.MULTILINE)) == 3
    assert str(ROOT) not in report + (tmp_path / "results.json").read_text()


@pytest.mark.slow
@reads_proc
def test_a_measurement_made_alone_leaves_the_others_and_the_page_says_when_they_were_made(tmp_path: Path) -> None:
    committed = json.loads(COMMITTED.read_text())
    for section in committed["sections"].values():
        section["date"] = "2026-01-02"
    (tmp_path / COMMITTED.name).write_text(json.dumps(committed))
    before = read_results(tmp_path).sections
    after = _quick_run(tmp_path, "emit").sections
    assert list(after) == list(before)
    assert {one["system"] for one in after["emit"]["samples"]} == {"oxherd"}
    assert all(after[name] == before[name] for name in before if name != "emit")
    report = (tmp_path / "README.md").read_text()
    for title in ("Drain", "Latency", "Growth"):
        assert f"## {title}\n\nMeasured 2026-01-02, " in report
    assert report.startswith(f"# Benchmarks\n\n{after['emit']['date']}, ")


def test_the_report_of_the_committed_results_can_be_written(tmp_path: Path) -> None:
    shutil.copy(COMMITTED, tmp_path)
    _run("benchmarks", "--report", "--no-plots", "--out", str(tmp_path))
    report = (tmp_path / "README.md").read_text()
    for title in ("Ratios", "Drain", "Emit", "Latency", "How"):
        assert f"\n## {title}\n" in report


def test_the_plan_lists_the_runs_and_takes_under_an_hour(tmp_path: Path) -> None:
    plan = _run("benchmarks", "--plan", "--out", str(tmp_path / "none")).stdout
    for load in (500, 1000, 2000, 4000, 8000):
        assert re.search(rf"^latency +{load} +valkey .* oxherd, oxherd-quiet, bullmq-node", plan, re.MULTILINE)
    servers = re.findall(r"^drain +10 +(\w+)", plan, re.MULTILINE)
    assert servers == (["valkey"] if redis_binary() is None else ["valkey", REDIS])
    minutes = re.search(r"in 3 rounds: at most about (\d+) minutes", plan)
    assert minutes is not None
    assert int(minutes[1]) < 60
    assert not (tmp_path / "none").exists()


def test_a_load_that_was_left_out_in_one_round_has_no_figure() -> None:
    def of(**more: Any) -> dict[str, Any]:
        return {"measurement": "latency", "system": "slow", "case": "500", "server": "valkey", "round": 1} | more

    samples = [of(p50=2.0), of(p50=4.0, round=2), of(p50=9.0, case="1000")]
    left_out = [of(case="1000", round=2, reason="it drains 900 events/s")]
    systems = {"slow": {"title": "Slow"}}
    results = Results({"latency": {"systems": systems, "samples": samples, "failures": [], "left_out": left_out}})
    columns = {"500": ("500", over("p50", 1)), "1,000": ("1000", over("p50", 1))}
    assert list(Table(results, "latency", columns).lines())[2:] == [f"| Slow | 3.0 | {LEFT_OUT} |"]
    assert results.median("latency", "slow", "1000", "p50") is None


@pytest.mark.slow
def test_the_footprint_is_that_of_the_wheel_and_replaces_the_page_s_figures_only(tmp_path: Path) -> None:
    page = tmp_path / "footprint.md"
    text = (ROOT / "docs" / "benchmarks" / "footprint.md").read_text()
    page.write_text(text)
    only = ["--only", "python,oxherd", "--page", str(page)]
    _run("benchmarks.footprint", "--rounds", "1", *only, timeout=600)  # it installs
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

"""The programs of docs/telemetry.md run, and answer as the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from oxherd.servers.ports import free_ports
from tests.harness import environment
from tests.telemetry.support import ROOT

PROGRAMS: list[str] = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs" / "telemetry.md").read_text(), re.DOTALL | re.MULTILINE
)
LIVE = """
from starlette.testclient import TestClient

with TestClient(app) as client:
    answer = client.get("/live")
print(answer.status_code, sorted(answer.json()))
"""
SCRAPE = """
from urllib.request import urlopen

print(urlopen("http://127.0.0.1:PORT/metrics").read().decode())
"""


def run(program: str, folder: Path, url: str) -> str:
    (folder / "app.py").write_text("from oxherd import Oxherd\nherd = Oxherd()\n")
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=environment(OXHERD_URL=url), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_starlette_route_answers_with_the_health(standalone: str, tmp_path: Path) -> None:
    said = run(PROGRAMS[0] + LIVE, tmp_path, standalone)
    assert said.startswith("200 ['blocked_seconds', 'events', 'live', 'outages',")


def test_metrics_are_beside_those_of_the_program(standalone: str, tmp_path: Path) -> None:
    [port] = free_ports(1)
    said = run((PROGRAMS[1] + SCRAPE.replace("PORT", "9000")).replace("9000", str(port)), tmp_path, standalone)
    assert "\noxherd_live 1.0\n" in said
    assert "python_info" in said

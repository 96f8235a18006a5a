"""The program of docs/dashboard.md, served by uvicorn as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.harness import environment, until_sync

PAGE = (Path(__file__).parents[2] / "docs" / "dashboard.md").read_text()
ADA, BOB = {"Cookie": "session=a-session-of-ada"}, {"Cookie": "session=a-session-of-bob"}
OURS = {"Sec-Fetch-Site": "same-origin"}


def test_the_pages_program_lets_an_operator_act_and_a_viewer_look(tmp_path: Path, standalone: str, prefix: str) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "app.py").write_text(program.replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"],
            cwd=tmp_path,
            env=environment(OXHERD_URL=standalone),
            stderr=output,
            stdout=output,
        )
    try:
        running = until_sync(lambda: re.search(r"running on (http://\S+)", log.read_text()))
        with httpx2.Client(base_url=running[1], timeout=20, trust_env=False) as client:
            assert client.get("/queues/").status_code == 403
            for user, status in ((BOB, 403), (ADA, 303)):
                page = client.get("/queues/", headers=user)
                assert (page.status_code, "order.placed" in page.text) == (200, True)
                fields = {"event": "order.placed"}
                assert client.post("/queues/actions/pause", data=fields, headers={**user, **OURS}).status_code == status
            assert ">ada <" in client.get("/queues/audit", headers=BOB).text
        server.terminate()
        server.wait(20)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()

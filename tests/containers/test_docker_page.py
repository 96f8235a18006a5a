"""The files of docs/docker.md make an application whose containers run as the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from oxherd.servers.ports import free_ports
from tests.containers.compose import read, services
from tests.containers.image import Image, instructions
from tests.containers.page import FILES, PAGE
from tests.containers.running import DEADLINE, TOKEN, WEB_ENDS, Running, check_dashboard, client_of, composed, valkey
from tests.harness import until_sync

VARIABLES = {"DASHBOARD_TOKEN": TOKEN}


def ends_of_worker(worker: Running) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in worker.container.said.splitlines(keepends=True) if line.endswith("}\n")]
    return [line for line in lines if line["msg"] in ("event.begin", "event.end")]


def test_the_page_has_the_five_files_and_the_compose_file_is_valid() -> None:
    assert set(FILES) == {"app.py", "requirements.txt", "Dockerfile", ".dockerignore", "compose.yaml"}
    ours = read(FILES["compose.yaml"])
    assert all(ours[name]["read_only"] for name in ("web", "worker", "dashboard"))
    assert all(port.startswith("127.0.0.1:") for each in ours.values() for port in each.get("ports", []))


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    allowed = {line[1:] for line in FILES[".dockerignore"].splitlines() if line.startswith("!")}
    steps = [step for stage in instructions(FILES["Dockerfile"]) for step in stage]
    copied = {rest.split()[0] for keyword, rest in steps if keyword == "COPY" and not rest.startswith("--from")}
    assert copied == allowed


@pytest.mark.slow
def test_its_containers_do_what_the_page_says(shop: Image, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "data").mkdir()
    server = services(FILES["compose.yaml"], VARIABLES)["valkey"]
    url = f"redis://127.0.0.1:{port}/0"
    with (
        valkey(server, tmp_path / "data", port),
        composed(shop, FILES["compose.yaml"], VARIABLES, tmp_path, url) as found,
    ):
        web, workers, dashboard = found.start_all()
        request = re.search(r"^curl localhost:8000(\S+) --json '(.*)'$", PAGE, re.MULTILINE)
        assert request is not None
        with client_of(web) as client:
            answer = client.post(request[1], json=json.loads(request[2]))
        assert answer.status_code == 202
        ran = until_sync(lambda: [lines for each in workers if len(lines := ends_of_worker(each)) == 2], DEADLINE)
        log = re.search(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        assert log is not None
        shown = [json.loads(line) for line in log[1].splitlines()]
        varying = {"ts", "event_id", "duration_ms"}
        said = [{key: value for key, value in line.items() if key not in varying} for line in ran[0]]
        assert said == [{key: value for key, value in line.items() if key not in varying} for line in shown]
        assert ran[0][0]["event_id"] == answer.json()["id"]
        check_dashboard(dashboard, "order.placed")
        for each in (dashboard, *workers):
            each.stop(0)
        web.stop(*WEB_ENDS)


@pytest.mark.slow
def test_a_forgotten_url_ends_its_worker_with_a_sentence(shop: Image, tmp_path: Path) -> None:
    container = shop.start(*shop.command, log=tmp_path / "log")
    assert container.process.wait(60) == 2
    *_, last = container.said.splitlines()
    assert last == "oxherd: OXHERD_EMBEDDED=never refuses the embedded server; set OXHERD_URL."
    assert "Traceback" not in container.said

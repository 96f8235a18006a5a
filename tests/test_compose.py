"""The sample's compose.yaml and Dockerfile are valid, private, and run the example."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose, parse_duration
from starlette.applications import Starlette

from examples import github_webhooks
from oxherd import Oxherd
from oxherd.redis.url import parse_url

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = PyCompose.from_yaml(TEXT).to_dict()["services"]
OURS = ["web", "worker"]


def check(text: str) -> None:
    compose = PyCompose.from_yaml(text)
    compose.validate()


def test_it_follows_the_compose_specification() -> None:
    check(TEXT)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("init: true", "init: maybe"),
        ("stop_grace_period:", "stop_grace:"),
        ("condition: service_healthy", "condition: service_happy"),
        ("replicas: 2", "replicas: two"),
        ("127.0.0.1:8000:8000", "127.0.0.1:web"),
        ("interval: 2s", "interval: soon"),
        ("services:", "service:"),
        ("networks:\n  sample:", "networks:\n  other:"),
    ],
)
def test_the_validation_finds_a_mistake(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=r"."):
        check(TEXT.replace(right, wrong))


def test_the_services_share_one_network_and_wait_for_a_healthy_cluster() -> None:
    assert set(SERVICES) == {"cluster", *OURS}
    assert {name: service["networks"] for name, service in SERVICES.items()} == {name: ["sample"] for name in SERVICES}
    assert "cluster_state:ok" in SERVICES["cluster"]["healthcheck"]["test"]
    for name in OURS:
        assert SERVICES[name]["depends_on"] == {"cluster": {"condition": "service_healthy"}}


def test_only_the_web_port_is_published_and_only_on_loopback() -> None:
    assert {name: service.get("ports", []) for name, service in SERVICES.items()} == {
        "cluster": [],
        "web": ["127.0.0.1:8000:8000"],
        "worker": [],
    }
    assert SERVICES["web"]["command"][-2:] == ["--port", "8000"]


def test_the_cluster_image_has_an_exact_version() -> None:
    assert re.fullmatch(r"grokzen/redis-cluster:\d+\.\d+\.\d+", SERVICES["cluster"]["image"])


def test_the_web_process_serves_the_app_and_leaves_processing_to_two_workers() -> None:
    command = SERVICES["web"]["command"]
    assert command[:2] == ["uvicorn", f"{github_webhooks.__name__}:app"]
    assert isinstance(github_webhooks.app, Starlette)
    assert SERVICES["web"]["environment"]["OXHERD_PROCESS"] == "0"
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


def test_the_worker_command_exists() -> None:
    program, command, target, *options = SERVICES["worker"]["command"]
    assert (program, command, target) == ("oxherd", "worker", f"{github_webhooks.__name__}:herd")
    assert isinstance(github_webhooks.herd, Oxherd)
    main = "import sys; from oxherd.cli import main; sys.argv[0] = 'oxherd'; sys.exit(main())"
    shown = subprocess.run(
        [sys.executable, "-c", main, "worker", "--help"],
        cwd=ROOT,
        env={"COLUMNS": "200", "TERM": "dumb", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert options == ["--log-format", "json"]
    assert "--log-format" in shown
    assert "json" in shown


def test_every_environment_variable_is_read_by_the_example_or_oxherd() -> None:
    source = Path(github_webhooks.__file__).read_text()
    read = set(re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', source))
    assert read == {"GITHUB_WEBHOOK_SECRET", "OXHERD_PROCESS"}
    assert set(SERVICES["web"]["environment"]) == read | {"OXHERD_URL"}
    assert set(SERVICES["worker"]["environment"]) == {"OXHERD_URL"}, "a worker checks no signature, so needs no secret"


def test_the_secret_comes_from_outside_and_must_be_set() -> None:
    assert SERVICES["web"]["environment"]["GITHUB_WEBHOOK_SECRET"].startswith("${GITHUB_WEBHOOK_SECRET:?")


@pytest.mark.parametrize("name", OURS)
def test_the_url_names_the_primaries_of_the_cluster_service(name: str) -> None:
    url = parse_url(SERVICES[name]["environment"]["OXHERD_URL"])
    first = int(SERVICES["cluster"]["environment"]["INITIAL_PORT"])
    assert url.topology == "cluster"
    assert [(seed.host, seed.port) for seed in url.seeds] == [("cluster", first + number) for number in range(3)]


@pytest.mark.parametrize("name", OURS)
def test_a_stop_is_given_more_time_than_oxherd_takes(name: str) -> None:
    assert parse_duration(SERVICES[name]["stop_grace_period"]) > 25 + 5
    assert SERVICES[name]["init"] is True


def test_the_image_runs_as_a_user_without_rights_and_copies_only_what_the_context_has() -> None:
    instructions = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    users = [line.split()[1] for line in instructions if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}
    assert "ARG PYTHON_IMAGE=python:3.13-slim" in instructions
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        part.partition("/")[0] for line in instructions if line.startswith("COPY ") for part in line.split()[1:-1]
    }
    assert copied == allowed
    assert not any(fnmatch(name, ".*") for name in allowed)

"""The compose files are valid and private, and agree with the example that they run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from examples import github_webhooks
from oxherd import Oxherd
from oxherd.redis.url import parse_url
from tests.containers.compose import read, services
from tests.containers.image import ROOT

SERVERS = {"compose.yaml": "cluster", "compose.valkey.yaml": "valkey"}
TEXTS = {file: (ROOT / file).read_text() for file in SERVERS}
SERVICES = {file: read(text) for file, text in TEXTS.items()}
OURS = ["web", "worker", "dashboard"]
VARIABLES = {"GITHUB_WEBHOOK_SECRET": "a secret", "DASHBOARD_TOKEN": "a-token-of-more-than-twenty-characters"}

pytestmark = pytest.mark.parametrize("file", SERVERS)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("init: true", "init: maybe"),
        ("read_only: true", "read_only: perhaps"),
        ("stop_grace_period:", "stop_grace:"),
        ("condition: service_healthy", "condition: service_happy"),
        ("replicas: 2", "replicas: two"),
        ("127.0.0.1:8000:8000", "127.0.0.1:web"),
        ("interval: 2s", "interval: soon"),
        ("services:", "service:"),
        ("networks:\n  sample:", "networks:\n  other:"),
    ],
)
def test_the_validation_finds_a_mistake(file: str, right: str, wrong: str) -> None:
    assert right in TEXTS[file]
    with pytest.raises(ValueError, match=r"."):
        read(TEXTS[file].replace(right, wrong))


def test_the_services_share_one_network_and_wait_for_a_healthy_server(file: str) -> None:
    given = SERVICES[file]
    assert set(given) == {SERVERS[file], *OURS}
    assert {name: service["networks"] for name, service in given.items()} == {name: ["sample"] for name in given}
    for name in OURS:
        assert given[name]["depends_on"] == {SERVERS[file]: {"condition": "service_healthy"}}


def test_only_the_pages_are_published_and_only_on_loopback(file: str) -> None:
    published = {name: service["ports"] for name, service in SERVICES[file].items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8000:8000"], "dashboard": ["127.0.0.1:8765:8765"]}
    assert SERVICES[file]["web"]["command"][-2:] == ["--port", "8000"]
    assert "--bind=0.0.0.0:8765" in SERVICES[file]["dashboard"]["command"]


def test_each_server_has_an_exact_version(file: str) -> None:
    image = SERVICES[file][SERVERS[file]]["image"]
    assert re.fullmatch(r"(grokzen/redis-cluster|valkey/valkey):\d+\.\d+\.\d+", image)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_write_nothing_and_have_no_rights(file: str, name: str) -> None:
    service = SERVICES[file][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["image"] == "oxherd-sample"


def test_the_web_process_leaves_processing_to_two_workers(file: str) -> None:
    command = SERVICES[file]["web"]["command"]
    assert command[:2] == ["uvicorn", f"{github_webhooks.__name__}:app"]
    assert isinstance(github_webhooks.app, Starlette)
    assert isinstance(github_webhooks.herd, Oxherd)
    assert SERVICES[file]["web"]["environment"]["OXHERD_PROCESS"] == "0"
    assert SERVICES[file]["worker"]["deploy"]["replicas"] == 2


def test_each_environment_variable_is_read_by_the_example_or_oxherd(file: str) -> None:
    source = Path(github_webhooks.__file__).read_text()
    read_there = set(re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', source))
    assert read_there == {"GITHUB_WEBHOOK_SECRET", "OXHERD_PROCESS"}
    given = {name: set(SERVICES[file][name]["environment"]) for name in OURS}
    assert given == {
        "web": read_there | {"OXHERD_URL"},
        "worker": {"OXHERD_URL"},  # it checks no signature, so needs no secret
        "dashboard": {"OXHERD_DASHBOARD_TOKENS", "OXHERD_URL"},
    }


@pytest.mark.parametrize("missing", VARIABLES)
def test_the_secrets_come_from_outside_and_must_be_set(file: str, missing: str) -> None:
    assert services(TEXTS[file], VARIABLES)
    with pytest.raises(ValueError, match=missing):
        services(TEXTS[file], VARIABLES | {missing: ""})


@pytest.mark.parametrize("name", OURS)
def test_the_url_names_the_server_of_the_file(file: str, name: str) -> None:
    url = parse_url(SERVICES[file][name]["environment"]["OXHERD_URL"])
    seeds: list[Any] = [(seed.host, seed.port) for seed in url.seeds]
    if file == "compose.yaml":
        first = int(SERVICES[file]["cluster"]["environment"]["INITIAL_PORT"])
        assert (url.topology, seeds) == ("cluster", [("cluster", first + number) for number in range(3)])
    else:
        assert (url.topology, seeds) == ("standalone", [("valkey", 6379)])


def test_a_stop_is_given_more_time_than_oxherd_takes(file: str) -> None:
    given = services(TEXTS[file], VARIABLES)
    assert given["web"].stop_seconds == given["worker"].stop_seconds
    assert given["worker"].stop_seconds > Oxherd().stop_timeout + 5


def test_what_valkey_stores_is_on_a_volume(file: str) -> None:
    kept = {name: service["volumes"] for name, service in SERVICES[file].items() if "volumes" in service}
    assert kept == ({"valkey": ["valkey-data:/data"]} if file == "compose.valkey.yaml" else {})

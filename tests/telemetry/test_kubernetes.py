"""The manifest is one that Kubernetes takes, and its probes and times fit the worker's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxherd import Oxherd
from oxherd.telemetry.http.endpoint import parse_address
from tests.harness import WorkerProcess, until_sync
from tests.telemetry.support import ROOT, ask

# Neither has annotations.
yaml: Any = importlib.import_module("yaml")
kubernetes_validate: Any = importlib.import_module("kubernetes_validate")

MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "docs" / "kubernetes" / "worker.yaml").read_text()))
DEPLOYMENT, POLICY = MANIFESTS
TEMPLATE: dict[str, Any] = DEPLOYMENT["spec"]["template"]
POD: dict[str, Any] = TEMPLATE["spec"]
[WORKER] = POD["containers"]


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_it_fits_the_schema_of_kubernetes(manifest: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(manifest, version, strict=True) == version
    broken = manifest | {"spec": manifest["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_the_policy_lets_scrapes_reach_the_pods_on_the_health_port_and_nothing_else() -> None:
    spec = POLICY["spec"]
    assert spec["podSelector"]["matchLabels"].items() <= TEMPLATE["metadata"]["labels"].items()
    assert spec["policyTypes"] == ["Ingress"]
    [rule] = spec["ingress"]
    assert rule["from"]
    assert [each["port"] for each in rule["ports"]] == [port["name"] for port in WORKER["ports"]]


def test_the_pod_outlives_the_stop_of_its_worker() -> None:
    arguments = WORKER["args"]
    stop_timeout = float(arguments[arguments.index("--stop-timeout") + 1])
    assert stop_timeout == Oxherd().stop_timeout
    pre_stop = WORKER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] >= stop_timeout + pre_stop + 5


def test_its_command_answers_each_probe_where_the_probe_asks(
    standalone: str, tmp_path: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    arguments: list[str] = WORKER["args"]
    address = parse_address(arguments[arguments.index("--health") + 1])
    [port] = WORKER["ports"]
    assert (address.host, address.port) == ("0.0.0.0", port["containerPort"])
    assert WORKER["command"] == ["oxherd", "worker", "app:herd"]
    (tmp_path / "app.py").write_text(
        f"from oxherd import Oxherd\nherd = Oxherd(prefix={prefix!r})\n"
        "@herd.event('a')\nasync def a(order: dict[str, int]) -> None: ...\n"
    )
    mine = ["127.0.0.1:0" if each == str(address) else each for each in arguments]
    worker = start_worker(*mine, url=standalone)
    worker.wait("worker.start")
    [said] = [record["msg"] for record in worker.records() if record["msg"].startswith("health endpoint at ")]
    bound = int(said.rpartition(":")[2])
    probes = {name: WORKER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/live",
        "livenessProbe": "/live",
        "readinessProbe": "/ready",
    }
    for probe in probes.values():
        assert probe["port"] == port["name"]
        until_sync(lambda path=probe["path"]: ask(bound, path).status == 200)
    assert worker.stop() == 0


def test_the_manifest_holds_no_tab_and_no_secret() -> None:
    text = (ROOT / "docs" / "kubernetes" / "worker.yaml").read_text()
    assert "\t" not in text
    assert WORKER["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "oxherd", "key": "url"}

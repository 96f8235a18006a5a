"""The manifests are such that Kubernetes takes, and what their pods run fits their probes and times."""

from __future__ import annotations

import importlib
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from oxherd import Oxherd
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.http.endpoint import parse_address
from tests.containers.image import ROOT, Container, Image
from tests.containers.running import WEB_ENDS
from tests.harness import WorkerProcess, until_sync
from tests.telemetry.support import ask

# Neither has annotations.
yaml: Any = importlib.import_module("yaml")
kubernetes_validate: Any = importlib.import_module("kubernetes_validate")

FOLDER = ROOT / "docs" / "kubernetes"
MANIFESTS: dict[str, list[dict[str, Any]]] = {
    file.name: list(yaml.safe_load_all(file.read_text())) for file in sorted(FOLDER.glob("*.yaml"))
}
EACH = [pytest.param(each, id=f"{file}-{each['kind']}") for file, found in MANIFESTS.items() for each in found]
DEPLOYMENTS = {file: found[0] for file, found in MANIFESTS.items()}
PODS: dict[str, dict[str, Any]] = {file: each["spec"]["template"]["spec"] for file, each in DEPLOYMENTS.items()}
CONTAINERS: dict[str, dict[str, Any]] = {file: pod["containers"][0] for file, pod in PODS.items()}
WORKER = CONTAINERS["worker.yaml"]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
TOKEN = "a-token-of-more-than-twenty-characters"


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("manifest", EACH)
def test_it_fits_the_schema_of_kubernetes(manifest: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(manifest, version, strict=True) == version
    broken = manifest | {"spec": manifest["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_the_page_applies_each_manifest() -> None:
    assert set(MANIFESTS) == {"worker.yaml", "web.yaml", "dashboard.yaml"}
    applied = re.search(r"^kubectl apply (.+)$", PAGE, re.MULTILINE)
    assert applied is not None
    assert set(re.findall(r"-f (\S+)", applied[1])) == set(MANIFESTS)
    named = set(re.findall(r"(?:deployment|service)/([\w-]+)", PAGE))
    assert named <= {each["metadata"]["name"] for found in MANIFESTS.values() for each in found}


@pytest.mark.parametrize("file", MANIFESTS)
def test_a_pod_has_no_rights_and_its_secrets_from_the_secret_of_the_page(file: str) -> None:
    assert "\t" not in (FOLDER / file).read_text()
    pod, container = PODS[file], CONTAINERS[file]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert (rights["allowPrivilegeEscalation"], rights["capabilities"]) == (False, {"drop": ["ALL"]})
    made = set(re.findall(r"--from-literal=([\w-]+)=", PAGE))
    for variable in container["env"]:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["name"] == "oxherd"
        assert reference["key"] in made


@pytest.mark.parametrize("file", ["web.yaml", "dashboard.yaml"])
def test_a_service_finds_its_pods(file: str) -> None:
    deployment, service = MANIFESTS[file]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    [port] = service["spec"]["ports"]
    assert port["targetPort"] in [each["name"] for each in CONTAINERS[file]["ports"]]


def test_the_policy_lets_scrapes_reach_the_workers_on_the_health_port_and_nothing_else() -> None:
    deployment, policy = MANIFESTS["worker.yaml"]
    spec = policy["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert spec["policyTypes"] == ["Ingress"]
    [rule] = spec["ingress"]
    assert rule["from"]
    assert [each["port"] for each in rule["ports"]] == [port["name"] for port in WORKER["ports"]]


@pytest.mark.parametrize(
    ("file", "option"), [("worker.yaml", "--stop-timeout"), ("web.yaml", "--timeout-graceful-shutdown")]
)
def test_a_pod_outlives_the_stop_of_its_command(file: str, option: str) -> None:
    arguments = CONTAINERS[file]["args"]
    stop_timeout = float(arguments[arguments.index(option) + 1])
    pre_stop = CONTAINERS[file]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert PODS[file]["terminationGracePeriodSeconds"] >= stop_timeout + pre_stop + 5
    if file == "worker.yaml":
        assert stop_timeout == Oxherd().stop_timeout


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


@dataclass
class Pod:
    """A manifest's container, started with a port of its own."""

    file: str
    port: int
    container: Container

    def ask(self, path: str, **headers: str) -> int:
        """The status of a GET."""
        return httpx.get(
            f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=30, trust_env=False
        ).status_code

    @property
    def passes_probes(self) -> bool:
        """Whether each of its probes gets its answer, with the headers that the manifest gives it."""
        probes = [probe["httpGet"] for name, probe in CONTAINERS[self.file].items() if name.endswith("Probe")]
        asked = [(each["path"], {h["name"]: h["value"] for h in each.get("httpHeaders", [])}) for each in probes]
        try:
            return all(self.ask(path, **headers) == 200 for path, headers in asked)
        except httpx.TransportError:
            return False


def start_pod(shop: Image, file: str, folder: Path, **secrets: str) -> Pod:
    container = CONTAINERS[file]
    [named] = container["ports"]
    (port,) = free_ports(1)
    command = [
        each.replace(str(named["containerPort"]), str(port)) for each in container["command"] + container["args"]
    ]
    variables = {
        each["name"]: secrets[each["valueFrom"]["secretKeyRef"]["key"].replace("-", "_")] for each in container["env"]
    }
    return Pod(file, port, shop.start(*command, log=folder / f"{file}.log", **variables))


@pytest.mark.slow
def test_the_pods_work_together_and_end_within_their_grace(shop: Image, tmp_path: Path) -> None:
    with StandaloneServer(settings={"appendonly": "yes"}) as server, ExitStack() as stack:
        secrets = {"url": server.url, "dashboard_tokens": f"ada operator {TOKEN}"}
        pods = {file: start_pod(shop, file, tmp_path, **secrets) for file in MANIFESTS}
        for pod in pods.values():
            stack.callback(pod.container.close)
            until_sync(lambda pod=pod: pod.passes_probes, 60, every=0.2)
        web, worker, dashboard = (pods[f"{name}.yaml"] for name in ("web", "worker", "dashboard"))
        placed = httpx.post(f"http://127.0.0.1:{web.port}/orders", json={"number": 7}, timeout=30, trust_env=False)
        assert placed.status_code == 202
        until_sync(lambda: f'"{placed.json()["id"]}"' in worker.container.said, 60)
        assert dashboard.ask("/login") == 421, "the pod's own address is no allowed host"
        assert dashboard.ask("/", Host="localhost:8765") == 303
        for host in ("localhost:8765", "queues.example.com"):
            assert dashboard.ask("/", Host=host, Authorization=f"Bearer {TOKEN}") == 200
        diagnosed = shop.run("oxherd", "doctor", "app:herd", OXHERD_URL=server.url)
        assert diagnosed.returncode == 0, diagnosed.stdout + diagnosed.stderr
        for file, pod in pods.items():
            before = CONTAINERS[file].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            pod.container.signal(signal.SIGTERM)
            status = pod.container.process.wait(PODS[file]["terminationGracePeriodSeconds"] - before)
            assert status in (WEB_ENDS if pod is web else (0,)), pod.container.said

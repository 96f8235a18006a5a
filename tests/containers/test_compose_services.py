"""Each compose file's services run as plain processes on real servers: a delivery is processed, all stop in time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.ports import free_ports
from tests.containers.compose import Service, services
from tests.containers.image import ROOT, Image
from tests.containers.running import (
    DEADLINE,
    TOKEN,
    WEB_ENDS,
    Composed,
    Running,
    check_dashboard,
    client_of,
    composed,
    valkey,
)
from tests.harness import until_sync
from tests.test_github_webhooks import PING, SECRET, Delivery

pytestmark = pytest.mark.slow

ON_CLUSTER = (ROOT / "compose.yaml").read_text()
ON_VALKEY = (ROOT / "compose.valkey.yaml").read_text()
VARIABLES = {"GITHUB_WEBHOOK_SECRET": SECRET, "DASHBOARD_TOKEN": TOKEN}
HERD = "examples.github_webhooks:herd"


@pytest.fixture
def redis_cli() -> str:
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if found is None:
        pytest.skip("neither redis-cli nor valkey-cli is installed here")
    return found


def deliver(web: Running) -> Delivery:
    delivery = Delivery("ping", PING)
    with client_of(web) as client:
        answer = client.post("/webhooks", content=delivery.body, headers=delivery.headers())
    assert (answer.status_code, answer.json()) == (202, {"id": str(delivery.id)})
    return delivery


def check_services(services_of_file: Composed) -> None:
    web, workers, dashboard = services_of_file.start_all()
    delivery = deliver(web)

    def processed() -> bool:
        said = "".join(worker.container.said for worker in workers)
        return any(str(delivery.id) in line and '"completed"' in line for line in said.splitlines())

    until_sync(processed, DEADLINE)
    check_dashboard(dashboard, "github.delivery")
    for each in (dashboard, *workers):
        each.stop(0)
    web.stop(*WEB_ENDS)
    assert all("worker.stop" in worker.container.said for worker in workers)


def test_the_services_on_a_cluster(image: Image, cluster: LocalCluster, tmp_path: Path) -> None:
    with composed(image, ON_CLUSTER, VARIABLES, tmp_path, cluster.url) as found:
        check_services(found)


def test_the_healthcheck_of_the_cluster(cluster: LocalCluster, redis_cli: str) -> None:
    check = services(ON_CLUSTER, VARIABLES)["cluster"].with_replaced({"/redis/src/redis-cli": redis_cli})
    ports = {f"700{number}": str(node.port) for number, node in enumerate(cluster.nodes[:3])}
    password = cluster.url.partition("//:")[2].partition("@")[0]

    def status(asked: Service) -> int:
        return subprocess.run(asked.healthcheck, env={"REDISCLI_AUTH": password, "PATH": "/usr/bin:/bin"}).returncode

    assert status(check.with_replaced(ports)) == 0
    (free,) = free_ports(1)
    assert status(check.with_replaced(ports | {"7002": str(free)})) == 1


def test_the_services_on_valkey_and_what_waits_survives_its_restart(
    image: Image, tmp_path: Path, redis_cli: str
) -> None:
    (port,) = free_ports(1)
    data = tmp_path / "data"
    data.mkdir()

    server = services(ON_VALKEY, VARIABLES)["valkey"]

    def is_healthy() -> bool:
        (script,) = server.healthcheck[2:]
        script = script.replace("valkey-cli", f"{redis_cli} -p {port}")
        return subprocess.run(["sh", "-c", script], check=False).returncode == 0

    with composed(image, ON_VALKEY, VARIABLES, tmp_path, f"redis://127.0.0.1:{port}/0") as found:
        with valkey(server, data, port):
            until_sync(is_healthy, DEADLINE)
            checked = image.run("oxherd", "check", HERD, **found.given["worker"].environment)
            assert "noeviction" in checked.stdout, checked.stdout
            assert checked.returncode == 0, checked.stdout
            web = found.start("web")
            until_sync(lambda: web.healthy, DEADLINE, every=0.5)
            waiting = deliver(web)
            web.stop(*WEB_ENDS)
        assert not is_healthy()
        with valkey(server, data, port):
            until_sync(is_healthy, DEADLINE)
            worker = found.start("worker")
            until_sync(lambda: str(waiting.id) in worker.container.said, DEADLINE)
            worker.stop(0)
            check_services(found)

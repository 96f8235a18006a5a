"""Each compose file's services run as plain processes on real servers: a delivery is processed, all stop in time."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

from oxherd.servers.binary import server_binary
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.ports import free_ports
from tests.containers.compose import Service, services
from tests.containers.image import Container, Image
from tests.harness import until_sync
from tests.test_github_webhooks import PING, SECRET, Delivery

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-more-than-twenty-characters"
VARIABLES = {"GITHUB_WEBHOOK_SECRET": SECRET, "DASHBOARD_TOKEN": TOKEN}
DEADLINE = 60.0
HERD = "examples.github_webhooks:herd"


@pytest.fixture
def redis_cli() -> str:
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if found is None:
        pytest.skip("neither redis-cli nor valkey-cli is installed here")
    return found


@dataclass
class Running:
    """A service's container, and the service with the addresses that it has here."""

    service: Service
    container: Container
    image: Image

    @property
    def healthy(self) -> bool:
        """Whether its healthcheck passes."""
        checked = self.image.run(*self.service.healthcheck, **self.service.environment)
        return checked.returncode == 0

    def stop(self, *statuses: int) -> None:
        """SIGTERM, as `docker stop` does: it ends in time, and with one of these statuses."""
        self.container.signal(signal.SIGTERM)
        assert self.container.process.wait(self.service.stop_seconds) in statuses, self.container.said
        assert "Traceback" not in self.container.said
        assert "Read-only file system" not in self.container.said


@dataclass
class Composed:
    """The services of a compose file that are of our image."""

    image: Image
    given: dict[str, Service]
    folder: Path
    stack: ExitStack

    def start(self, name: str) -> Running:
        """One more container of a service, with ports of its own."""
        web, health, pages = free_ports(3)
        service = self.given[name].with_replaced({"8000": f"{web}", "8081": f"{health}", "8765": f"{pages}"})
        log = self.folder / f"{name}-{web}.log"
        container = self.image.start(*service.command, log=log, **service.environment)
        self.stack.callback(container.close)
        return Running(service, container, self.image)

    def start_all(self) -> tuple[Running, list[Running], Running]:
        """The web process, the workers and the dashboard, each healthy."""
        web, dashboard = self.start("web"), self.start("dashboard")
        workers = [self.start("worker") for _ in range(self.given["worker"].replicas)]
        for each in (web, dashboard, *workers):
            until_sync(lambda each=each: each.healthy, DEADLINE, every=0.5)
        return web, workers, dashboard


@contextmanager
def composed(image: Image, file: str, folder: Path, url: str) -> Generator[Composed]:
    """The services of a file, on a server of the tests."""
    given = services(file, VARIABLES)
    (old,) = {service.environment["OXHERD_URL"] for name, service in given.items() if name in ("web", "worker")}
    with ExitStack() as stack:
        here = {name: service.with_replaced({old: url}) for name, service in given.items()}
        yield Composed(image, here, folder, stack)


def deliver(web: Running) -> Delivery:
    delivery = Delivery("ping", PING)
    with client_of(web) as client:
        answer = client.post("/webhooks", content=delivery.body, headers=delivery.headers())
    assert (answer.status_code, answer.json()) == (202, {"id": str(delivery.id)})
    return delivery


def client_of(running: Running) -> httpx.Client:
    """A client of the port that its healthcheck asks, by the address that compose publishes it on."""
    port = next(word for word in running.service.healthcheck[-1].replace(",", " ").split() if word.isdigit())
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE, trust_env=False)


def check_dashboard(dashboard: Running) -> None:
    """It lets nobody in without the token."""
    with client_of(dashboard) as client:
        assert client.get("/").headers["location"] == "/login?next=%2F"
        wrong = client.get("/", headers={"Authorization": f"Bearer {TOKEN[:-1]}"})
        assert wrong.status_code in (303, 401)
        signed_in = client.post("/login", data={"token": TOKEN}, headers={"Sec-Fetch-Site": "same-origin"})
        assert signed_in.status_code == 303
        assert "github.delivery" in client.get("/").text


def check_services(services_of_file: Composed) -> None:
    web, workers, dashboard = services_of_file.start_all()
    delivery = deliver(web)

    def processed() -> bool:
        said = "".join(worker.container.said for worker in workers)
        return any(str(delivery.id) in line and '"completed"' in line for line in said.splitlines())

    until_sync(processed, DEADLINE)
    check_dashboard(dashboard)
    for each in (dashboard, *workers):
        each.stop(0)
    # uvicorn ends by the signal that stopped it, once it has shut down; as process 1 it outlives it, and ends with 0.
    web.stop(0, -signal.SIGTERM)
    assert all("worker.stop" in worker.container.said for worker in workers)


def test_the_services_on_a_cluster(image: Image, cluster: LocalCluster, tmp_path: Path) -> None:
    with composed(image, "compose.yaml", tmp_path, cluster.url) as found:
        check_services(found)


def test_the_healthcheck_of_the_cluster(cluster: LocalCluster, redis_cli: str) -> None:
    check = services("compose.yaml", VARIABLES)["cluster"].with_replaced({"/redis/src/redis-cli": redis_cli})
    ports = {f"700{number}": str(node.port) for number, node in enumerate(cluster.nodes[:3])}
    password = cluster.url.partition("//:")[2].partition("@")[0]

    def status(asked: Service) -> int:
        return subprocess.run(asked.healthcheck, env={"REDISCLI_AUTH": password, "PATH": "/usr/bin:/bin"}).returncode

    assert status(check.with_replaced(ports)) == 0
    (free,) = free_ports(1)
    assert status(check.with_replaced(ports | {"7002": str(free)})) == 1


@contextmanager
def valkey(folder: Path, port: int) -> Generator[Service]:
    """The server of compose.valkey.yaml with its very arguments, its data in a folder; SIGTERM ends it in time."""
    service = services("compose.valkey.yaml", VARIABLES)["valkey"]
    program, *arguments = service.command
    assert program == "valkey-server"
    here = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with (folder.parent / "valkey.log").open("ab") as log:
        server = subprocess.Popen([server_binary(), *arguments, *here], stdout=log, stderr=log)
    try:
        yield service
        server.terminate()
        assert server.wait(service.stop_seconds) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def test_the_services_on_valkey_and_what_waits_survives_its_restart(
    image: Image, tmp_path: Path, redis_cli: str
) -> None:
    (port,) = free_ports(1)
    data = tmp_path / "data"
    data.mkdir()

    def check(service: Service) -> bool:
        (script,) = service.healthcheck[2:]
        script = script.replace("valkey-cli", f"{redis_cli} -p {port}")
        return subprocess.run(["sh", "-c", script], check=False).returncode == 0

    with composed(image, "compose.valkey.yaml", tmp_path, f"redis://127.0.0.1:{port}/0") as found:
        with valkey(data, port) as server:
            until_sync(lambda: check(server), DEADLINE)
            checked = image.run("oxherd", "check", HERD, **found.given["worker"].environment)
            assert "noeviction" in checked.stdout, checked.stdout
            assert checked.returncode == 0, checked.stdout
            web = found.start("web")
            until_sync(lambda: web.healthy, DEADLINE, every=0.5)
            waiting = deliver(web)
            web.stop(0, -signal.SIGTERM)
        assert not check(server)
        with valkey(data, port) as server:
            until_sync(lambda: check(server), DEADLINE)
            worker = found.start("worker")
            until_sync(lambda: str(waiting.id) in worker.container.said, DEADLINE)
            worker.stop(0)
            check_services(found)

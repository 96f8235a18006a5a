"""A compose file's services, started as its containers would be, with ports of their own."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2 as httpx

from oxherd.servers.binary import server_binary
from oxherd.servers.ports import free_ports
from tests.containers.compose import Service, services
from tests.containers.image import Container, Image
from tests.harness import until_sync

TOKEN = "a-token-of-more-than-twenty-characters"
DEADLINE = 60.0
# uvicorn ends by the signal that stopped it, once it has shut down; as process 1 it outlives it, and ends with 0.
WEB_ENDS = (0, -signal.SIGTERM)


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
def composed(image: Image, text: str, variables: Mapping[str, str], folder: Path, url: str) -> Generator[Composed]:
    """The services of a compose file, on a server of the tests."""
    given = {
        name: service if service.command else replace(service, command=image.command)
        for name, service in services(text, variables).items()
    }
    (old,) = {service.environment["OXHERD_URL"] for name, service in given.items() if name in ("web", "worker")}
    with ExitStack() as stack:
        here = {name: service.with_replaced({old: url}) for name, service in given.items()}
        yield Composed(image, here, folder, stack)


def check_dashboard(dashboard: Running, event: str) -> None:
    """It lets nobody in without the token."""
    with client_of(dashboard) as client:
        assert client.get("/").headers["location"] == "/login?next=%2F"
        wrong = client.get("/", headers={"Authorization": f"Bearer {TOKEN[:-1]}"})
        assert wrong.status_code in (303, 401)
        signed_in = client.post("/login", data={"token": TOKEN}, headers={"Sec-Fetch-Site": "same-origin"})
        assert signed_in.status_code == 303
        assert event in client.get("/").text


def client_of(running: Running) -> httpx.Client:
    """A client of the port that its healthcheck asks, by the address that compose publishes it on."""
    port = next(word for word in running.service.healthcheck[-1].replace(",", " ").split() if word.isdigit())
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE, trust_env=False)


@contextmanager
def valkey(service: Service, folder: Path, port: int) -> Generator[None]:
    """A service's Valkey with its very arguments, its data in a folder; SIGTERM ends it in time."""
    program, *arguments = service.command
    assert program == "valkey-server"
    here = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with (folder.parent / "valkey.log").open("ab") as log:
        server = subprocess.Popen([server_binary(), *arguments, *here], stdout=log, stderr=log)
    try:
        until_sync(lambda: server.poll() is not None or _listens(port), DEADLINE)
        assert server.poll() is None, arguments
        yield
        server.terminate()
        assert server.wait(service.stop_seconds) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0

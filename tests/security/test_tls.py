"""TLS against real servers: verified by default, and each refusal is one error with the remedy."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from oxherd import ConfigError, EmitError, Oxherd
from oxherd.redis.client import pack_command
from oxherd.servers.polling import wait_until
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from tests.harness import DEADLINE, Records, cli
from tests.local_sentinel import Sentinel
from tests.security.certificates import Authority, Certificate

# The bundled Valkey is built without TLS.
pytestmark = pytest.mark.redis7

Serve = Callable[..., "TLSServer"]


class TLSServer(StandaloneServer):
    """Debian's Redis with TLS on `tls_port`; on `port` it speaks plainly, to the test."""

    def __init__(self, binary: Path, authority: Authority, certificate: Certificate, **settings: str | int) -> None:
        [self.tls_port] = free_ports(1)
        tls = tls_settings(authority, certificate, self.tls_port)
        super().__init__(binary=binary, password="", settings=tls | named(settings))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("server", hosts=("localhost",))


@pytest.fixture(scope="module")
def server(redis7_binary: Path, authority: Authority, certificate: Certificate) -> Generator[TLSServer]:
    """A server whose certificate is right for 127.0.0.1 and localhost, signed by the test's CA."""
    with TLSServer(redis7_binary, authority, certificate) as server:
        yield server


async def emits(herd: Oxherd, records: Records) -> None:
    """The herd reaches its server: an event is emitted and processed."""

    @herd.event("order.placed")
    async def order_placed(order: dict[str, int]) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit({"number": 1})
        await records.wait("event.end", outcome="completed")
        client = (await herd.backend()).client
        assert await asyncio.to_thread(client.ask, 0, pack_command("PING"), 10) == b"PONG"  # as emit_sync does
    assert not records.named("redis.error")


async def refused(herd: Oxherd, records: Records, *words: str) -> None:
    """The herd does not reach its server: `emit` says why and what to do, and so does one record."""
    event = herd.declare("order.placed", dict[str, int])
    async with herd:
        with pytest.raises(EmitError) as caught:
            await event.emit({"number": 1})
        [record] = records.named("redis.error", source="connect")
    records.all.clear()
    for word in words:
        assert word in vars(record)["error"]["message"]
        assert word in str(caught.value)


async def test_certificates_are_verified_by_default(
    server: TLSServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(f"rediss://127.0.0.1:{server.tls_port}", emit_timeout=1.0)
    await refused(herd, records, "no trusted CA has signed its certificate", "ssl_ca_certs")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_of_the_given_ca_is_trusted(
    host: str, server: TLSServer, authority: Authority, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    url = f"rediss://{host}:{server.tls_port}?ssl_ca_certs={authority.certificate}"
    await emits(make_herd(url), records)


async def test_a_server_of_another_ca_is_refused(
    server: TLSServer, tmp_path: Path, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    other = Authority(tmp_path, "other-ca")
    url = f"rediss://127.0.0.1:{server.tls_port}?ssl_ca_certs={other.certificate}"
    await refused(make_herd(url, emit_timeout=1.0), records, "no trusted CA")


async def test_verification_can_be_turned_off(
    server: TLSServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    await emits(make_herd(f"rediss://127.0.0.1:{server.tls_port}?ssl_cert_reqs=none"), records)


async def test_a_closed_herd_leaves_no_connection_to_a_server_that_is_slow_to_say_goodbye(
    server: TLSServer, authority: Authority, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(f"rediss://127.0.0.1:{server.tls_port}?ssl_ca_certs={authority.certificate}")
    before = open_sockets()
    event = herd.declare("order.placed", dict[str, int])
    async with herd:
        await event.emit({"number": 1})
        server.pause()
        asyncio.get_running_loop().call_later(0.3, server.resume)
    assert open_sockets() == before


def open_sockets() -> set[str]:
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return {link for link in links if link.startswith("socket:")}


async def test_the_host_name_must_match_the_certificate(
    redis7_binary: Path, authority: Authority, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    certificate = authority.issue("elsewhere", addresses=(), hosts=("redis.example",))
    with TLSServer(redis7_binary, authority, certificate) as server:
        url = f"rediss://localhost:{server.tls_port}?ssl_ca_certs={authority.certificate}"
        await refused(make_herd(url, emit_timeout=1.0), records, "its certificate is for another name", "localhost")
        await emits(make_herd(f"{url}&ssl_check_hostname=false"), records)


async def test_an_expired_certificate_is_named(
    redis7_binary: Path, authority: Authority, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    expired = authority.issue("expired", ends=-dt.timedelta(hours=1))
    with TLSServer(redis7_binary, authority, expired) as server:
        url = f"rediss://127.0.0.1:{server.tls_port}?ssl_ca_certs={authority.certificate}"
        await refused(make_herd(url, emit_timeout=1.0), records, "certificate has expired")


async def test_a_certificate_that_only_newer_pythons_refuse_names_what_it_lacks(
    redis7_binary: Path, authority: Authority, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    lacking = authority.issue("lacking", without=x509.AuthorityKeyIdentifier)
    with TLSServer(redis7_binary, authority, lacking) as server:
        herd = make_herd(f"rediss://127.0.0.1:{server.tls_port}?ssl_ca_certs={authority.certificate}", emit_timeout=1.0)
        if sys.version_info >= (3, 13):
            await refused(herd, records, "Missing Authority Key Identifier", "issue that one anew")
        else:
            await emits(herd, records)


async def test_a_client_certificate_is_sent(
    redis7_binary: Path,
    authority: Authority,
    certificate: Certificate,
    tmp_path: Path,
    make_herd: Callable[..., Oxherd],
    records: Records,
) -> None:
    ours, strangers = authority.issue("client"), Authority(tmp_path, "other-ca").issue("stranger")
    with TLSServer(redis7_binary, authority, certificate, tls_auth_clients="yes") as server:
        url = f"rediss://127.0.0.1:{server.tls_port}?ssl_ca_certs={authority.certificate}"
        for missing in (url, f"{url}&ssl_certfile={strangers.certificate}&ssl_keyfile={strangers.key}"):
            await refused(make_herd(missing, emit_timeout=1.0), records, "ssl_certfile and ssl_keyfile")
        await emits(make_herd(f"{url}&ssl_certfile={ours.certificate}&ssl_keyfile={ours.key}"), records)


async def test_tls_before_1_2_is_refused(
    redis7_binary: Path,
    authority: Authority,
    certificate: Certificate,
    make_herd: Callable[..., Oxherd],
    records: Records,
) -> None:
    # OpenSSL itself speaks it at its lowest level of security only.
    old = {"tls_protocols": "TLSv1.1", "tls_ciphers": "DEFAULT:@SECLEVEL=0"}
    with TLSServer(redis7_binary, authority, certificate, **old) as server:
        assert await asyncio.to_thread(_speaks_old_tls, server.tls_port), "the server does speak it"
        url = f"rediss://127.0.0.1:{server.tls_port}?ssl_ca_certs={authority.certificate}"
        await refused(make_herd(url, emit_timeout=1.0), records, "enable TLS 1.2 or later")


async def test_a_port_without_tls_is_named(
    server: TLSServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(f"rediss://127.0.0.1:{server.port}")
    async with herd:
        [record] = await records.wait("redis.error", source="connect")
    assert "it does not speak TLS" in vars(record)["error"]["message"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("ssl_ca_certs=/no/such.pem", r"ssl_ca_certs .* names /no/such\.pem, which cannot be read"),
        ("ssl_ca_certs=KEY", "certificates in the Redis URL cannot be used"),
        ("ssl_certfile=CERTIFICATE", "ssl_certfile with its ssl_keyfile"),
        ("ssl_certfile=CERTIFICATE&ssl_keyfile=OTHER", "ssl_certfile with its ssl_keyfile"),
        ("ssl_cert_reqs=nothing", "invalid ssl_cert_reqs; use one of none, optional, required"),
        ("ssl_check_hostname=never", "invalid ssl_check_hostname"),
    ],
)
async def test_certificates_that_cannot_be_used_are_wrong_usage(
    options: str, told: str, authority: Authority, certificate: Certificate
) -> None:
    other = authority.issue("other")
    for word, path in (("CERTIFICATE", certificate.certificate), ("KEY", certificate.key), ("OTHER", other.key)):
        options = options.replace(f"={word}", f"={path}")
    with pytest.raises(ConfigError, match=told):
        await Oxherd(f"rediss://127.0.0.1?{options}").backend()


def test_the_command_line_reports_it_in_one_line(server: TLSServer, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from oxherd import Oxherd\nherd = Oxherd()\nherd.declare('order.placed', dict)\n")
    done = cli(tmp_path, "check", "app:herd", url=f"rediss://127.0.0.1:{server.tls_port}")
    assert (done.returncode, done.stderr) == (1, "")
    assert "no trusted CA has signed its certificate" in done.stdout.splitlines()[-1]


async def test_each_node_of_a_cluster_is_verified(
    redis7_binary: Path,
    authority: Authority,
    certificate: Certificate,
    make_herd: Callable[..., Oxherd],
    records: Records,
) -> None:
    with _cluster(redis7_binary, authority, certificate) as port:
        url = f"rediss+cluster://127.0.0.1:{port}"
        await refused(make_herd(url, emit_timeout=1.0), records, "no trusted CA")
        records.all.clear()
        herd = make_herd(f"{url}?ssl_ca_certs={authority.certificate}")
        spread = herd.declare("order.spread", dict[str, int], shards=8)
        async with herd:
            await spread.emit_many([{"number": number} for number in range(16)])
            await emits(herd, records)


async def test_sentinels_and_their_primary_are_verified(
    redis7_binary: Path,
    authority: Authority,
    certificate: Certificate,
    server: TLSServer,
    tmp_path: Path,
    make_herd: Callable[..., Oxherd],
    records: Records,
) -> None:
    sentinel = _TLSSentinel(tmp_path / "sentinel", redis7_binary, authority, certificate, server.tls_port)
    sentinel.start()
    try:
        wait_until(lambda: sentinel.primary_port() == server.tls_port, timeout=DEADLINE, what="the sentinel is ready")
        url = f"rediss+sentinel://127.0.0.1:{sentinel.tls_port}/mymaster"
        await refused(make_herd(url, emit_timeout=1.0), records, "no trusted CA")
        records.all.clear()
        await emits(make_herd(f"{url}?ssl_ca_certs={authority.certificate}"), records)
    finally:
        sentinel.kill()


class _TLSSentinel(Sentinel):
    """A sentinel that speaks TLS on `tls_port`, and to the primary."""

    def __init__(
        self, folder: Path, binary: Path, authority: Authority, certificate: Certificate, primary: int
    ) -> None:
        port, self.tls_port = free_ports(2)
        super().__init__(folder, port, primary, "", binary=binary)
        settings = tls_settings(authority, certificate, self.tls_port) | {"tls-replication": "yes"}
        self._settings = {**self._settings, **settings}


@contextmanager
def _cluster(binary: Path, authority: Authority, certificate: Certificate) -> Generator[int]:
    """A cluster of two nodes that speak TLS to each other as well; answers the TLS port of one."""
    settings = {"cluster_enabled": "yes", "tls_cluster": "yes", "tls_replication": "yes"}
    buses = free_ports(2)
    nodes = [TLSServer(binary, authority, certificate, **settings, cluster_port=bus) for bus in buses]
    with nodes[0] as one, nodes[1] as other:
        one.command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        other.command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        one.command("CLUSTER", "MEET", "127.0.0.1", other.tls_port, buses[1])
        for node in nodes:
            wait_until(
                lambda n=node: "cluster_state:ok" in n.text("CLUSTER", "INFO"), timeout=DEADLINE, what="they have met"
            )
        yield one.tls_port


def tls_settings(authority: Authority, certificate: Certificate, port: int) -> dict[str, str | int | Path]:
    """What makes a server speak TLS on a port, and let clients in without a certificate."""
    return {
        "tls-port": port,
        "tls-cert-file": certificate.certificate,
        "tls-key-file": certificate.key,
        "tls-ca-cert-file": authority.certificate,
        "tls-auth-clients": "no",
    }


def named(settings: dict[str, str | int]) -> dict[str, str | int | Path]:
    """Settings by the names that a configuration file has for them."""
    return {name.replace("_", "-"): value for name, value in settings.items()}


def _speaks_old_tls(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as wrapped:
        return wrapped.version() == "TLSv1.1"

"""`oxherd dashboard`: serves the pages until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from oxherd.cli.herd_loader import load_herd
from oxherd.cli.output import write_line
from oxherd.errors import ConfigError, ServerError, UsageError
from oxherd.telemetry.http.endpoint import Address, is_loopback, parse_address

if TYPE_CHECKING:
    import uvicorn

    from oxherd.dashboard.access.keyring import Keyring

# Holds what a token file holds, where a container can be given no file that only its user may read.
TOKENS = "OXHERD_DASHBOARD_TOKENS"
# Streams that are open are cut off after this at a stop.
_GRACE_SECONDS = 1
_LOOK_SECONDS = 0.1


def run(target: str, bind: str, token_file: Path | None, allowed_hosts: Sequence[str], *, read_only: bool) -> None:
    """Serve the dashboard, and print its address.

    Raises:
        UsageError: the address is not this machine's own, and nothing says who may look, or what its Host is.
        ConfigError: the token file or an option is wrong, or a library is missing.
        ServerError: nothing can listen there.
    """
    try:
        import uvicorn
    except ImportError:
        raise ConfigError("uvicorn is not installed; install oxherd[dashboard].") from None
    from oxherd.dashboard.access.access import Access
    from oxherd.dashboard.access.hosts import Hosts
    from oxherd.dashboard.mounted import guarded

    address = parse_address(bind, "--bind")
    keyring = _keyring(token_file, os.environ.get(TOKENS))
    _check(address, keyring, allowed_hosts)
    herd = load_herd(target)
    with _listening(address) as listener:
        address = Address(address.host, listener.getsockname()[1])
        access = Access(keyring=keyring, hosts=Hosts(_own_hosts(address, allowed_hosts)), read_only=read_only)
        stopping = asyncio.Event()
        config = uvicorn.Config(
            guarded(herd, access, stopping),
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        server = uvicorn.Server(config)

        async def serve() -> None:
            watching = asyncio.create_task(_end_streams(server, stopping))
            try:
                await server.serve(sockets=[listener])
            finally:
                watching.cancel()
                await herd.close()

        # uvicorn raises the signal again that has stopped it; the stop was all that it asked for.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)
        write_line(f"http://{_own_hosts(address, ())[0]}/")
        sys.stdout.flush()
        asyncio.run(serve())


async def _end_streams(server: uvicorn.Server, stopping: asyncio.Event) -> None:
    """End the open streams when the server is told to stop: it waits for them."""
    while not server.should_exit:  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(_LOOK_SECONDS)
    stopping.set()


def _keyring(token_file: Path | None, tokens: str | None) -> Keyring | None:
    from oxherd.dashboard.access.keyring import Keyring

    if token_file is not None and tokens is not None:
        raise UsageError(f"--token-file and {TOKENS} both say who may sign in: give one of them.")
    if token_file is not None:
        return Keyring.of_file(token_file)
    return None if tokens is None else Keyring.of_lines(tokens, TOKENS)


def _check(address: Address, keyring: Keyring | None, allowed_hosts: Sequence[str]) -> None:
    if is_loopback(address.host):
        if allowed_hosts and keyring is None:
            raise UsageError("Who comes by another --allowed-host may be anybody: give --token-file as well.")
        return
    if keyring is None:
        raise UsageError("On an address that others reach, the dashboard needs --token-file; or bind it to 127.0.0.1.")
    if _is_wildcard(address.host) and not allowed_hosts:
        raise UsageError(f"{address.host} has no name of its own: say --allowed-host, as browsers' addresses have it.")


def _own_hosts(address: Address, allowed_hosts: Sequence[str]) -> list[str]:
    """What a request may have in its Host."""
    names = [str(address)]
    if is_loopback(address.host):
        names += [f"{name}:{address.port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    return [*names, *allowed_hosts]


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _listening(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=128)
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else type(error).__name__
        raise ServerError(f"Nothing can listen at {address} ({why}); give --bind another address.") from None


def _ignore(number: int, frame: object) -> None:
    """The server's own handler takes its place."""

"""A server on which the user `oxherd` has the rights that the documentation lists."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from oxherd.servers.standalone import StandaloneServer
from tests.security.rights import ADMIN, EVERYTHING, AuditedServer, guarded


@pytest.fixture(params=["valkey", pytest.param("redis7", marks=pytest.mark.redis7)])
def standalone(request: pytest.FixtureRequest) -> Generator[AuditedServer]:
    """One server, on which nobody is let in without a password."""
    binary = request.getfixturevalue("redis7_binary") if request.param == "redis7" else None
    with StandaloneServer(binary=binary) as server:
        server.command("ACL", "SETUSER", ADMIN, *EVERYTHING)
        server.command("ACL", "SETUSER", "default", "off")
        # Another database than 0, which is chosen with SELECT.
        url = server.url.removesuffix("0") + "1"
        with guarded(url, [("127.0.0.1", server.port)], "", database=1) as place:
            yield place

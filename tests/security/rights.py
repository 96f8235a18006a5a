"""The rights in docs/operations.md, and servers on which the user `oxherd` has exactly these."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Connection

from oxherd.redis.blocking import Reply
from oxherd.redis.client import key_slot

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
USER, PASSWORD = "oxherd", "only-for-oxherd"
ADMIN, ADMIN_PASSWORD = "admin", "only-for-the-test"
EVERYTHING = ("reset", "on", f">{ADMIN_PASSWORD}", "~*", "&*", "+@all")

_BLOCK = re.compile(r"^```acl-?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CALLS = re.compile(r"cmdstat_(\S+?):calls=(\d+)")


def documented(kind: str = "") -> list[list[str]]:
    """The commands of a block of the documentation: the first, or the one marked `cluster`, `sentinel` etc."""
    blocks = {found[1]: found[2] for found in _BLOCK.finditer(OPERATIONS.read_text())}
    return [line.replace("PASSWORD", PASSWORD).split() for line in blocks[kind].splitlines()]


def granted(*kinds: str) -> set[str]:
    """The commands that these blocks grant."""
    words = [word for kind in kinds for line in documented(kind) for word in line]
    return {word.removeprefix("+") for word in words if word.startswith("+")}


class AuditedServer:
    """One server, or all primaries of a cluster, with an administrator's connections; `url` is for the user."""

    def __init__(self, url: str, primaries: Sequence[tuple[str, int]], database: int) -> None:
        self.url = url
        self.ports = [port for _, port in primaries]
        self._database = database
        self._admins = {address: _admin(address, database) for address in primaries}
        self._asides: Counter[str] = Counter()

    def all(self, *words: str | int) -> list[Reply]:
        """Run a command on each primary."""
        return [_run(admin, *words) for admin in self._admins.values()]

    def at(self, key: str, *words: str | int) -> Reply:
        """Run a command on the primary that serves a key."""
        return _run(self._admins[self._serving(key)], *words)

    def admin_url(self, key: str) -> str:
        """A plain URL, with all rights, of the primary that serves a key."""
        host, port = self._serving(key)
        return f"redis://{ADMIN}:{ADMIN_PASSWORD}@{host}:{port}/{self._database}"

    def grant(self, *kinds: str) -> None:
        """Make the user as the documentation's blocks say."""
        for kind in kinds:
            for line in documented(kind):
                self.all(*line)

    def refusals(self) -> list[Reply]:
        """What the servers have refused to anyone."""
        return [entry for log in self.all("ACL", "LOG") if isinstance(log, list) for entry in log]

    def blocked(self) -> int:
        """How many connections wait for something just now."""
        told = self.all("INFO", "clients")
        self._asides["info"] += len(told)
        return sum(int(found[1]) for text in told if (found := re.search(r"blocked_clients:(\d+)", str(text))))

    def called(self) -> Counter[str]:
        """How often the user has run each command, by itself or by a script."""
        asides = self._asides.copy()
        counts = self._counts()
        counts.subtract(asides)
        return +counts

    @contextmanager
    def aside(self) -> Generator[None]:
        """What is run meanwhile is run by others, and does not count."""
        before = self._counts()
        yield
        after = self._counts()
        after.subtract(before)
        # The question itself, which is counted as the administrator's already.
        after["info"] -= len(self._admins)
        self._asides.update(after)

    def close(self) -> None:
        for admin in self._admins.values():
            admin.disconnect()

    def _counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for text in self.all("INFO", "commandstats"):
            counts.update({name: int(calls) for name, calls in _CALLS.findall(str(text))})
            # Counted by the server once it has answered.
            self._asides["info"] += 1
        return counts

    def _serving(self, key: str) -> tuple[str, int]:
        if len(self._admins) == 1:
            return next(iter(self._admins))
        [ranges, *_] = self.all("CLUSTER", "SLOTS")
        slot = key_slot(key)
        for each in ranges if isinstance(ranges, list) else []:
            match each:
                case [int(first), int(last), [str(host), int(port), *_], *_] if first <= slot <= last:
                    return host, port
                case _:
                    continue
        raise AssertionError(f"nobody serves slot {slot}")


@contextmanager
def guarded(url: str, primaries: Sequence[tuple[str, int]], *kinds: str, database: int = 0) -> Generator[AuditedServer]:
    """A place whose administrators exist already; the user is made, with the rights of the documentation's blocks."""
    scheme, _, rest = url.partition("://")
    place = AuditedServer(f"{scheme}://{USER}:{PASSWORD}@{rest.rpartition('@')[2]}", primaries, database)
    try:
        place.grant(*kinds)
        place.all("ACL", "LOG", "RESET")
        place.all("CONFIG", "RESETSTAT")
        yield place
    finally:
        place.close()


def _admin(address: tuple[str, int], database: int) -> Any:
    # One connection for all: those of single commands would be counted.
    host, port = address
    login: dict[str, Any] = {"username": ADMIN, "password": ADMIN_PASSWORD, "db": database}
    return Connection(host=host, port=port, socket_timeout=20, protocol=2, decode_responses=True, **login)


def _run(admin: Any, *words: str | int) -> Reply:
    admin.send_command(*words)
    return admin.read_response()

"""A Redis URL, parsed once, and shown without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

from oxherd.errors import ConfigError

Topology = Literal["standalone", "cluster", "sentinel"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_SCHEMES: dict[str, tuple[Topology, bool]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "unix": ("standalone", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
# Each option with its values; None: a file, checked when it is used.
_TLS_OPTIONS: dict[str, frozenset[str] | None] = {
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": frozenset({"required", "optional", "none"}),
    "ssl_check_hostname": frozenset({"true", "false", "yes", "no", "1", "0"}),
}
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_MAX_DIGITS = 9
_DEFAULT_PORT: dict[Topology, int] = {"standalone": 6379, "cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisURL:
    """Topology, addresses and credentials; the `repr` shows no credential."""

    topology: Topology
    seeds: tuple[Address, ...]
    tls: bool = False
    db: int = 0
    service: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.topology} {','.join(map(str, self.seeds))}"

    def option(self, name: str) -> str | None:
        """The value of a query option, or None."""
        return dict(self.options).get(name)


def parse_url(url: str) -> RedisURL:
    """Parse a URL: redis://, unix://, redis+cluster:// or redis+sentinel://, with `rediss` for TLS.

    Raises:
        ConfigError: an unknown scheme or option, a missing host or service, an invalid port, database or value.
    """
    if not url.isascii() and _SURROGATE.search(url):  # to encode it would raise an error that shows the password
        raise ConfigError("The Redis URL is not UTF-8; percent-encode its bytes.")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        shown = scheme if separator and scheme.replace("+", "").isalnum() else "none"
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ConfigError(f"The Redis URL has the scheme {shown!r}; use one of {known}.")
    topology, tls = _SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if "@" in query or ("@" in path and not at and (authority or scheme != "unix")):
        raise ConfigError("The Redis URL has an @ behind its first / or ?; percent-encode the user and the password.")
    username, password = _credentials(credentials) if at else (None, None)
    options = _options(query, topology, tls)
    db = options.pop("db", "")
    if scheme == "unix":
        if not slash or not path:
            raise ConfigError("The unix:// URL names no socket; write unix:///path/to/redis.sock.")
        if hosts:
            raise ConfigError("The unix:// URL names a host; write unix:///path/to/redis.sock, with three slashes.")
        seeds: tuple[Address, ...] = (Address(path="/" + _name(path)),)
        path = ""
    else:
        seeds = tuple(_address(host, _DEFAULT_PORT[topology]) for host in hosts.split(","))
    service = ""
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ConfigError("The Sentinel URL names no service; write redis+sentinel://host:port/service/0.")
    return RedisURL(
        topology=topology,
        seeds=seeds,
        tls=tls,
        db=_database(path.rstrip("/") or db, topology),
        service=_name(service),
        username=username,
        password=password,
        options=tuple(sorted(options.items())),
    )


def _credentials(text: str) -> tuple[str | None, str | None]:
    username, colon, password = text.partition(":")
    if not colon:
        raise ConfigError("The Redis URL has a user without a password; write user:password@host, or :password@host.")
    return unquote(username) or None, unquote(password) or None


def _address(text: str, default_port: int) -> Address:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ConfigError("The Redis URL has an empty host; write host:port, several separated by commas.")
    if not port:
        return Address(_name(host), default_port)
    if not (_is_number(port) and 0 < int(port) < 65536):
        # Without the value: if the host was forgotten, a user stands in its place.
        raise ConfigError("The Redis URL has an invalid port; a port is a number from 1 to 65535.")
    return Address(_name(host), int(port))


def _name(text: str) -> str:
    """Decode a host, path or service; it has to be printable, since it is shown."""
    name = unquote(text)
    if not name.isprintable():
        raise ConfigError("The Redis URL has a control character in a host, path or service; remove it.")
    return name


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _database(text: str, topology: Topology) -> int:
    if not text:
        return 0
    if not _is_number(text):
        raise ConfigError("The Redis URL has a database that is not a number; end it with /0.")
    if topology == "cluster" and int(text):
        raise ConfigError("A Redis Cluster has only database 0; remove the database from the URL.")
    return int(text)


def _options(query: str, topology: Topology, tls: bool) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = {"db"}
    if tls:
        known |= _TLS_OPTIONS.keys()
    if topology == "sentinel":
        known |= _SENTINEL_OPTIONS
    for name in options:
        if name not in known:
            # Not quoted: it may be the end of a password that holds a question mark.
            raise ConfigError(f"The Redis URL has an unknown option; known here: {', '.join(sorted(known))}.")
        values = _TLS_OPTIONS.get(name)
        if values is not None and options[name] not in values:
            raise ConfigError(f"The Redis URL has an invalid {name}; use one of {', '.join(sorted(values))}.")
    return options

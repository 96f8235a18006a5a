"""A Redis URL, parsed once, and shown without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from oxherd.errors import ConfigError

Topology = Literal["standalone", "cluster", "sentinel"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"\s")
_QUOTES = ("'", '"')
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

    White space around it, and quotes around that, are ignored, since an environment file may leave them there.

    Raises:
        ConfigError: an unknown scheme or option, a missing host or service, an invalid port, database or value.
    """
    if not url.isascii() and _SURROGATE.search(url):  # to encode it would raise an error that shows the password
        raise ConfigError("The Redis URL is not UTF-8; percent-encode its bytes.")
    url = _trimmed(url)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        shown = scheme if separator and scheme.replace("+", "").isalnum() else "none"
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ConfigError(f"The Redis URL has the scheme {shown!r}; use one of {known}.")
    topology, tls = _SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if _has_misplaced_at(scheme, credentials, hosts, path, query):
        raise ConfigError(
            "The Redis URL has an @ in a wrong place; percent-encode the user and the password (/ ? # @ %), and give "
            "them once, before the first host."
        )
    username, password = _credentials(credentials) if at else (None, None)
    options = _options(query, topology, tls)
    option_db = options.pop("db", "")
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
        db=_database(path.rstrip("/"), option_db, topology),
        service=_name(service),
        username=username,
        password=password,
        options=tuple(sorted(options.items())),
    )


def _has_misplaced_at(scheme: str, credentials: str, hosts: str, path: str, query: str) -> bool:
    if "@" in query or ("@" in credentials and "," in credentials):
        return True
    # The path of a socket may have one; what stands before it then is no host.
    return "@" in path and (bool(hosts) or scheme != "unix")


def _trimmed(url: str) -> str:
    url = url.strip()
    if len(url) > 1 and url[0] in _QUOTES and url[0] == url[-1]:
        url = url[1:-1].strip()
    if url[:1] in _QUOTES or url[-1:] in _QUOTES:
        raise ConfigError("The Redis URL begins or ends with a quote; remove it.")
    if _SPACE.search(url):
        raise ConfigError("The Redis URL has a space or a line break in it; remove it, or percent-encode it.")
    return url


def _credentials(text: str) -> tuple[str | None, str | None]:
    username, colon, password = text.partition(":")
    if not colon:
        raise ConfigError("The Redis URL has a user without a password; write user:password@host, or :password@host.")
    return _decoded(username) or None, _decoded(password) or None


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
    name = _decoded(text)
    if not name.isprintable():
        raise ConfigError("The Redis URL has a control character in a host, path or service; remove it.")
    return name


def _decoded(text: str) -> str:
    decoded = unquote(text, errors="surrogateescape")
    if _SURROGATE.search(decoded):
        raise ConfigError("The Redis URL has percent-encoded bytes that are not UTF-8; encode the text as UTF-8.")
    return decoded


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _database(path: str, option: str, topology: Topology) -> int:
    text = path or option
    if not text:
        return 0
    if path and option and path != option:
        raise ConfigError("The Redis URL names two databases, one in its path and one as the option db; remove one.")
    if not _is_number(text):
        raise ConfigError("The Redis URL has a database that is not a number; end it with /0.")
    if topology == "cluster" and int(text):
        raise ConfigError("A Redis Cluster has only database 0; remove the database from the URL.")
    return int(text)


def _options(query: str, topology: Topology, tls: bool) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        # A + is no space here: passwords and paths have it.
        name, _, value = map(_decoded, pair.partition("="))
        if name in options:
            raise ConfigError("The Redis URL has an option twice; give each once.")
        options[name] = value
    known = {"db"}
    if tls:
        known |= _TLS_OPTIONS.keys()
    if topology == "sentinel":
        known |= _SENTINEL_OPTIONS
    for name in options:
        if name not in known:
            if name in _TLS_OPTIONS:
                raise ConfigError(f"The Redis URL has the option {name} without TLS; use rediss in its scheme.")
            # Not quoted: it may be a part of a password.
            raise ConfigError(f"The Redis URL has an unknown option; known here: {', '.join(sorted(known))}.")
        if not options[name]:
            raise ConfigError(f"The Redis URL has the option {name} without a value; give one, or remove it.")
        values = _TLS_OPTIONS.get(name)
        if values is not None and options[name] not in values:
            raise ConfigError(f"The Redis URL has an invalid {name}; use one of {', '.join(sorted(values))}.")
    return options

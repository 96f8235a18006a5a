"""Redis URLs: refused with a ConfigError or usable, and never shown with a credential."""

from __future__ import annotations

from urllib.parse import quote

from oxherd.errors import ConfigError
from oxherd.redis.tls import tls_arguments
from oxherd.redis.url import Address, RedisURL, parse_url
from tests.fuzz.oracle import in_time, no_canary, only
from tests.fuzz.source import Source

_SCHEMES = (
    "redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel", "http", "REDIS",
    "", "redis+", "\x1b[31m",
)  # fmt: skip
_HOSTS = (
    "a", "127.0.0.1", "[::1]", "[fe80::1%25eth0]", "[", "]", "[]", "", "%00", "a b", "ho%0ast", "é", "a" * 300, ":",
    "::",
)  # fmt: skip
_PORTS = ("", ":6379", ":0", ":65536", ":-1", ":x", ":" + "9" * 5000, ":٣", ": 1", ":1:2")
_PATHS = ("", "/", "/0", "/3", "/-1", "/x", "/" + "9" * 5000, "/main/0", "/main/x", "/%00/1", "/a/b/c", "//", "/main")
_OPTIONS = (
    "db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "sentinel_username",
    "sentinel_password", "password", "", "%00", "a" * 50,
)  # fmt: skip
_VALUES = ("", "0", "1", "none", "required", "optional", "/no/such/file", "x", "%ff", "false", "9" * 5000)
_CORE = "9d3b71f0"  # stands in credentials only
_SECRETS = (
    f"se{_CORE}cret",
    quote(f"the {_CORE} secret"),
    f"{_CORE}%40%2F%3A",
    f"%ff{_CORE}",
    f"{_CORE}/{_CORE}",
    f"a@{_CORE}",
    f"{_CORE}?{_CORE}",
)


@in_time
def url(data: bytes) -> None:
    """Any URL, most of them with a canary for a user, a password or both."""
    source = Source(data, (*_SCHEMES, *_OPTIONS, "://", "@", "/", ":", ",", "?", "&", "="))
    _used(_made(source) if source.below(4) else f"redis://u:{_CORE}@{source.text()}")


@in_time
def good_url(data: bytes) -> None:
    """A URL whose parts are percent-encoded says these parts again."""
    source = Source(data)
    user, password = (source.raw().decode("utf-8", "replace") or "x" for _ in range(2))
    service = source.choose(("main", "a/b", "ma@in:1", "é ?", "%41"))
    hosts = [_host(source) for _ in range(1 + source.below(3))]
    seeds = tuple(Address(host, 1 + source.below(256) * 255) for host in hosts)
    kind = source.choose(("redis", "rediss", "redis+cluster", "redis+sentinel", "rediss+sentinel"))
    db = 0 if "cluster" in kind else source.below(16)
    path = f"/{quote(service, safe='')}/{db}" if "sentinel" in kind else f"/{db}"
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    text = f"{kind}://{credentials}@{','.join(map(str, seeds))}{path}"
    found = parse_url(text)
    assert (found.username, found.password, found.seeds, found.db) == (user, password, seeds, db), text
    assert found.tls == kind.startswith("rediss")
    assert "sentinel" not in kind or found.service == service
    _shown(found)


def _host(source: Source) -> str:
    return source.choose(("a", "redis.example.org", "127.0.0.1", "::1", "fe80::1", "a-b_c"))


def _made(source: Source) -> str:
    secret = source.choose(_SECRETS)
    credentials = source.choose(
        (f"{secret}:{secret}@", f":{secret}@", f"{secret}@", f"user:{secret}@", f"{secret}:@", "")
    )
    hosts = ",".join(source.choose(_HOSTS) + source.choose(_PORTS) for _ in range(source.below(4)))
    options = "&".join(f"{source.choose(_OPTIONS)}={source.choose(_VALUES)}" for _ in range(source.below(4)))
    if source.below(4) == 3:
        options += f"&sentinel_password=the%20{_CORE}"
    query = f"?{options}" if options else ""
    scheme, colon = source.choose(_SCHEMES), source.choose(("://", ":", ":/", ""))
    return f"{scheme}{colon}{credentials}{hosts}{source.choose(_PATHS)}{query}"


def _used(text: str) -> None:
    with only(ConfigError, hides=(_CORE,)):
        found = parse_url(text)
        assert found.seeds
        for part in (found.username, found.password, found.service, *map(str, found.seeds)):
            (part or "").encode()
        _shown(found)
        if found.tls:
            tls_arguments(found)


def _shown(found: RedisURL) -> None:
    no_canary(f"{found!r} {found}", "a URL", (_CORE,))
    assert str(found).isprintable()

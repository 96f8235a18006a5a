"""The URLs of the contract, and what is wrong with others, without a credential in any error."""

from __future__ import annotations

import pytest

from oxherd import ConfigError
from oxherd.redis.url import Address, parse_url


@pytest.mark.parametrize(
    ("url", "topology", "seeds", "tls", "db", "service"),
    [
        ("redis://host", "standalone", [Address("host", 6379)], False, 0, ""),
        ("redis://host:7000/3", "standalone", [Address("host", 7000)], False, 3, ""),
        ("rediss://user:secret@host:7000/0", "standalone", [Address("host", 7000)], True, 0, ""),
        ("redis://[::1]:7000", "standalone", [Address("::1", 7000)], False, 0, ""),
        ("unix:///run/my%20redis.sock?db=2", "standalone", [Address(path="/run/my redis.sock")], False, 2, ""),
        ("unix://user:secret@/run/redis.sock", "standalone", [Address(path="/run/redis.sock")], False, 0, ""),
        ("redis+cluster://a:1,b:2", "cluster", [Address("a", 1), Address("b", 2)], False, 0, ""),
        ("rediss+cluster://:secret@a:1,b:2", "cluster", [Address("a", 1), Address("b", 2)], True, 0, ""),
        ("redis+sentinel://a:1,b/main/4", "sentinel", [Address("a", 1), Address("b", 26379)], False, 4, "main"),
        ("rediss+sentinel://a/main", "sentinel", [Address("a", 26379)], True, 0, "main"),
    ],
)
def test_a_url_says_where_redis_is(
    url: str, topology: str, seeds: list[Address], tls: bool, db: int, service: str
) -> None:
    parsed = parse_url(url)
    assert (parsed.topology, list(parsed.seeds), parsed.tls, parsed.db, parsed.service) == (
        topology, seeds, tls, db, service,
    )  # fmt: skip
    assert "secret" not in repr(parsed) + str(parsed)


def test_credentials_may_hold_any_character() -> None:
    parsed = parse_url("redis://us%3Aer:p%40ss%2Fw%3Ard@host")
    assert (parsed.username, parsed.password) == ("us:er", "p@ss/w:rd")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://user:secret@host", "'http'"),
        ("user:secret@host:6379", "scheme"),
        ("host:6379", "scheme"),
        ("REDIS://user:secret@host", "'REDIS'"),
        ("", "scheme"),
        ("redis://user:secret@", "host"),
        ("redis://user:secret@host:port", "port"),
        ("redis://host:secret", "port"),
        ("redis://user:secret@secret@host:x", "port"),
        ("redis://user:secret@host:70000", "port"),
        ("redis://user:secret@host/zero", "database"),
        ("redis://:secret@host/secret", "database"),
        ("redis://secret@host", "password"),
        ("redis://user:secret@host?secret=1", "unknown option"),
        ("redis://host/?password=secret", "unknown option"),
        ("redis+cluster://user:secret@a,b/1", "database 0"),
        ("redis+sentinel://user:secret@a:1", "service"),
        ("unix://", "socket"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix://user:se/secret@/run/redis.sock", "percent-encode"),
        ("redis://user:se/secret@host", "percent-encode"),
        ("redis://user:se?secret=1@host", "percent-encode"),
        ("redis+sentinel://user:se/secret@a:1/main", "percent-encode"),
    ],
)
def test_a_wrong_url_is_refused_in_one_sentence_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300

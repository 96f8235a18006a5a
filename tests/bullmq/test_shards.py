"""How an event is spread over queues: no server is needed."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from redis.crc import key_slot

from oxherd import DeclarationError, Oxherd, OxherdError, UsageError
from oxherd.bullmq.shards import shard_of, shard_queues, shards_of
from oxherd.declaration import key_of


class Order(BaseModel):
    number: int
    customer: Any = None


def customer(order: Order) -> Any:
    return order.customer


def differences(event: str, primaries: int) -> list[int]:
    """For each number of shards up to 64: the most on one of so many equal primaries, less the fewest on one."""
    counts = [0] * primaries
    found: list[int] = []
    for queue in shard_queues(event, 64):
        # Where a slot lies on the border of two, redis-cli gives it to the one that has more of it.
        counts[(2 * key_slot(f"bull:{queue}:wait".encode()) + 1) * primaries // (2 * 16384)] += 1
        found.append(max(counts) - min(counts))
    return found


@pytest.mark.parametrize("primaries", [3, 6, 12, 24])
@given(event=st.from_regex(r"[a-z][a-z.]{0,20}", fullmatch=True))
@settings(max_examples=20, deadline=None)
def test_any_number_of_shards_is_spread_evenly_over_three_or_six_primaries(primaries: int, event: str) -> None:
    assert max(differences(event, primaries)) <= 1


@pytest.mark.parametrize("event", ["order.placed", "mail.send", "a"])
def test_over_other_numbers_of_primaries_they_are_spread_nearly_evenly(event: str) -> None:
    assert max(max(differences(event, primaries)) for primaries in range(2, 31)) <= 3


@given(st.integers(1, 200), st.integers(1, 200), st.from_regex(r"[a-z][a-z.]{0,20}", fullmatch=True))
@settings(max_examples=20, deadline=None)
def test_fewer_shards_are_the_first_of_more(fewer: int, more: int, event: str) -> None:
    fewer, more = sorted((fewer, more))
    queues = shard_queues(event, more)
    assert len(set(queues)) == more
    assert shard_queues(event, fewer) == queues[:fewer]


def test_the_first_shard_is_the_plain_queue_of_the_event() -> None:
    assert shard_queues("order.placed", 1) == ("{order.placed}",)
    assert shard_queues("order.placed", 4)[0] == "{order.placed}"


def jump(state: int, buckets: int) -> int:
    """As Lamping and Veach print it in "A Fast, Minimal Memory, Consistent Hash Algorithm"."""
    b, j = -1, 0
    while j < buckets:
        b = j
        state = (state * 2862933555777941757 + 1) % 2**64
        j = int((b + 1) * (float(1 << 31) / float((state >> 33) + 1)))
    return b


@given(st.binary(min_size=1), st.integers(1, 1024))
def test_a_key_belongs_to_the_shard_that_the_jump_hash_of_its_crc_says(key: bytes, shards: int) -> None:
    assert shard_of(key, shards) == jump(crc32(key), shards)


@given(st.binary(min_size=1), st.integers(1, 200))
def test_the_shards_of_a_key_are_those_of_every_smaller_number(key: bytes, shards: int) -> None:
    assert shards_of(key, shards) == sorted({shard_of(key, number) for number in range(1, shards + 1)})


@pytest.mark.parametrize("shards", [2, 3, 8, 12, 64])
def test_numbered_keys_are_spread_evenly(shards: int) -> None:
    counts = Counter(shard_of(str(number).encode(), shards) for number in range(20_000))
    assert len(counts) == shards
    assert max(counts.values()) < 1.25 * 20_000 / shards


@pytest.mark.parametrize("key", ["Zoë", 17, UUID(int=5), b"raw"])
def test_a_key_is_a_str_an_int_a_uuid_or_bytes(key: Any) -> None:
    event = Oxherd().declare("order.placed", Order, shards=3, key=customer)
    encoded = key_of(event.declaration, Order(number=1, customer=key))
    assert encoded == (key if isinstance(key, bytes) else str(key).encode())


@pytest.mark.parametrize("key", [1.5, ["secret"], object()])
def test_another_key_is_refused_without_telling_it(key: Any) -> None:
    event = Oxherd().declare("order.placed", Order, shards=3, key=customer)
    with pytest.raises(UsageError, match="key function returned a ") as caught:
        key_of(event.declaration, Order(number=1, customer=key))
    assert "secret" not in str(caught.value)


def test_a_key_function_that_raises_is_named_without_its_message() -> None:
    def broken(order: Order) -> str:
        raise ValueError("secret")

    event = Oxherd().declare("order.placed", Order, shards=3, key=broken)
    with pytest.raises(UsageError, match="key function raised ValueError") as caught:
        key_of(event.declaration, Order(number=1))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"shards": 0},
        {"shards": 1025},
        {"shards": 2.0},
        {"shards": 2, "ordered": True},
        {"shards": 2, "queue": "{orders}"},
        {"ordered": True, "queue": "{orders}"},
        {"ordered": "yes"},
        {"key": "customer"},
    ],
)
def test_what_cannot_be_sharded_is_refused_at_declaration(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Oxherd().declare("order.placed", Order, **options)


def test_a_prefix_that_keeps_all_shards_in_one_slot_is_refused() -> None:
    with pytest.raises(DeclarationError, match="all shards in one slot"):
        Oxherd(prefix="{bull}").declare("order.placed", Order, shards=2)


@pytest.mark.parametrize("sharded_first", [True, False])
@pytest.mark.parametrize("options", [{"shards": 2}, {"ordered": True}])
def test_an_event_with_shards_or_order_shares_its_queue_with_none(options: Any, sharded_first: bool) -> None:
    herd = Oxherd()
    declarations: list[tuple[str, dict[str, Any]]] = [("order.placed", options), ("audit", {"queue": "{order.placed}"})]
    first, second = declarations if sharded_first else declarations[::-1]
    herd.declare(first[0], Order, **first[1])
    with pytest.raises(DeclarationError, match="queue for itself"):
        herd.declare(second[0], Order, **second[1])


async def test_an_ordered_event_takes_no_priority() -> None:
    event = Oxherd().declare("order.placed", Order, ordered=True)
    with pytest.raises(OxherdError, match="no priorities"):
        await event.emit(Order(number=1), priority=1)

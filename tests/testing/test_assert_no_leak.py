"""`assert_no_leak` on events that keep their payload private, and on some that leak it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Allow, Context, DeclarationError, Keyring, Mask, Oxherd
from oxherd.redis.client import key_slot
from oxherd.servers.local_cluster import LocalCluster
from oxherd.testing import LeakError, assert_no_leak

RING = Keyring(Keyring.generate())


class Customer(BaseModel):
    name: str
    phone: str = "+49 30 1234567"


class Order(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")]
    card: Annotated[SecretStr, Mask("last4")]
    customer: Customer


ORDER = {
    "order_id": 1_000_001,
    "email": "ada@example.com",
    "card": "4111 1111 1111 1111",
    "customer": {"name": "Ada Lovelace"},
}
FIELDS = ["order_id", "email", "card", "customer.name", "customer.phone"]


def caught(herd_event: Any, url: str, **options: Any) -> set[tuple[str, str]]:
    """The sinks and fields of the leaks that must be found."""
    with pytest.raises(LeakError) as error:
        assert_no_leak(herd_event, ORDER, url=url, **options)
    return {(leak.sink, leak.path) for leak in error.value.leaks}


async def keys(herd: Oxherd) -> list[bytes]:
    """Those of tests for leaks: others on the server may come and go meanwhile."""
    async with herd:
        return sorted(await (await herd.backend()).client.call(0, "KEYS", "*leaks-*"))


def test_an_event_with_masks_passes_and_its_fields_are_named(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed")
    async def placed(order: Order, ctx: Context) -> None:
        ctx.log.info("charging %d", order.order_id)  # which the masks leave to be seen

    assert assert_no_leak(placed, ORDER, url=standalone) == FIELDS


def test_a_handlers_errors_are_redacted_and_pass(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", sanitize=Allow("order_id"))
    def placed(order: Order) -> None:
        raise ValueError(f"{order} was declined: {order.card.get_secret_value()}")

    assert_no_leak(placed, ORDER, url=standalone)


@pytest.mark.parametrize("seal", [RING, RING.fields("card", "customer")], ids=["whole", "fields"])
def test_a_sealed_event_passes(seal: Any, local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", seal=seal)
    async def placed(order: Order) -> int:
        return 1

    assert_no_leak(placed, ORDER, url=standalone)


def test_sealed_values_may_not_be_progress_while_results_are_sealed(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", seal=RING.fields("card"))
    async def placed(order: Order, ctx: Context) -> str:
        await ctx.progress([order.customer.name, order.card.get_secret_value()])
        return f"{order.email} {order.card.get_secret_value()}"

    assert caught(placed, standalone) == {
        ("Redis (field progress of {order.placed}:<id>)", "card"),
        ("Redis (field data of {order.placed}:events)", "card"),
    }


def test_the_log_may_show_only_the_fields_of_shows(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", sanitize=Allow("order_id", "customer"))
    async def placed(order: Order) -> None: ...

    assert_no_leak(placed, ORDER, url=standalone, shows=("order_id", "customer"))
    # What is shown is not redacted from errors either: it stands in several sinks.
    leaks = caught(placed, standalone, shows=("order_id", "customer.name"))
    assert {path for _, path in leaks} == {"customer.phone"}
    assert ("the log (logger 'oxherd')", "customer.phone") in leaks
    fields = {path for _, path in caught(placed, standalone, shows=())}
    assert fields == {"order_id", "customer.name", "customer.phone"}
    with pytest.raises(DeclarationError, match="did you mean 'customer'"):
        assert_no_leak(placed, ORDER, url=standalone, shows=("custommer",))


def test_a_sanitiser_that_shows_a_hidden_value_in_base64_leaks(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", sanitize=lambda order: {"ref": base64.b64encode(order.email.encode()).decode()})
    async def placed(order: Order) -> None: ...

    assert_no_leak(placed, ORDER, url=standalone)
    assert caught(placed, standalone, shows=("order_id",)) == {("the log (logger 'oxherd')", "email")}


ENCODINGS: dict[str, Callable[[str], Any]] = {
    "plain": str,
    "json": json.dumps,
    "python": repr,
    "url": quote,
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64, one further": lambda text: base64.urlsafe_b64encode(f"-{text}-".encode()),
    "base64, two further": lambda text: base64.b64encode(f"--{text}--".encode()),
    "lines": lambda text: "\n    ".join(text[first : first + 5] for first in range(0, len(text), 5)),
}


def test_a_value_is_found_however_it_is_encoded(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", sanitize=Allow("order_id"))
    def placed(order: Order) -> None:
        def log() -> None:
            for name, encode in ENCODINGS.items():
                logging.getLogger(f"shop.{name}").warning("%s", encode(order.customer.name))

        thread = threading.Thread(target=log)  # in no context: nothing is bound to the records
        thread.start()
        thread.join()

    assert caught(placed, standalone) == {(f"the log (logger 'shop.{name}')", "customer.name") for name in ENCODINGS}


def test_records_of_isolated_and_disabled_loggers_and_printed_text_are_searched(
    local_herd: Oxherd, standalone: str
) -> None:
    apart = logging.getLogger("shop.apart")
    apart.propagate = False
    logging.disable(logging.CRITICAL)

    @local_herd.event("order.placed", sanitize=Allow("order_id"))
    async def placed(order: Order) -> None:
        thread = threading.Thread(target=apart.error, args=("declined",), kwargs={"extra": {"order": order}})
        thread.start()
        thread.join()
        print(order.email)
        print(order.order_id, file=sys.stderr)

    try:
        assert caught(placed, standalone, shows=()) >= {
            ("the log (logger 'shop.apart')", "email"),
            ("standard output", "email"),
            ("standard error", "order_id"),
        }
        assert logging.root.manager.disable == logging.CRITICAL
    finally:
        apart.propagate = True
        logging.disable(logging.NOTSET)


def test_the_error_names_event_field_sink_and_scenario(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", sanitize=lambda order: order.email)
    async def placed(order: Order) -> None: ...

    with pytest.raises(AssertionError, match=r"order\.placed leaks its payload in \d places:") as error:
        assert_no_leak(placed, ORDER, url=standalone, shows=())
    _, named, text, *_ = str(error.value).splitlines()
    assert named.startswith(
        "- email is in the log (logger 'oxherd'), after its own handler ran, its handler raises errors that quote "
        "the payload, "
    )
    assert "@canary.example.com" in text


def test_the_handler_can_be_left_out(local_herd: Oxherd, standalone: str) -> None:
    calls: list[Order] = []

    @local_herd.event("order.placed")
    async def placed(order: Order) -> None:
        calls.append(order)
        print(order.email)

    assert_no_leak(placed, ORDER, url=standalone, handler=False)
    assert not calls
    assert caught(placed, standalone) == {("standard output", "email")}
    assert len(calls) == 1


def key(order: Order) -> str:
    return order.email


@pytest.mark.parametrize(
    "options",
    [{"shards": 3, "key": key}, {"ordered": True}, {"queue": "orders", "once": 60}, {"durable": True, "timeout": 5}],
    ids=["shards", "ordered", "shared", "durable"],
)
def test_options_of_every_kind_pass(options: dict[str, Any], local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", **options)
    async def placed(order: Order) -> None: ...

    assert_no_leak(placed, ORDER, url=standalone)


async def test_it_can_be_called_in_a_running_loop_and_leaves_no_key(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed", shards=2)
    async def placed(order: Order) -> None: ...

    before = await keys(local_herd)
    assert_no_leak(placed, ORDER, url=standalone)
    await asyncio.to_thread(assert_no_leak, placed, ORDER, url=standalone)
    assert await keys(local_herd) == before


def test_without_a_url_a_temporary_server_is_used(
    local_herd: Oxherd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    event = local_herd.declare("order.placed", Order)
    assert assert_no_leak(event, ORDER) == FIELDS
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"queue": "orders"}, {"shards": 2}], ids=["no hash tag", "shards"])
async def test_a_cluster_is_searched_and_cleaned(options: dict[str, Any], cluster: LocalCluster) -> None:
    herd = Oxherd(cluster.url, prefix="{leaks}" if "queue" in options else "leaks")

    @herd.event("order.placed", seal=RING.fields("card"), **options)
    async def placed(order: Order, ctx: Context) -> None:
        await ctx.progress(order.card.get_secret_value())

    sinks = caught(placed, cluster.url)
    assert len(sinks) == 2
    assert all(sink.startswith("Redis (field ") and path == "card" for sink, path in sinks)
    async with herd:
        client = (await herd.backend()).client
        for slot in {key_slot(word) for word in "abcdefghi"}:
            assert [key for key in await client.call(slot, "KEYS", "*") if b"leaks-" in key] == []

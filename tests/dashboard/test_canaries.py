"""Nothing private is in any page or stream, and nothing that others have written becomes part of a page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx2
import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Context, Cron, Every, Keep, Mask, Oxherd, Retry
from oxherd.dashboard import dashboard
from oxherd.dashboard.actions.routes import ACTIONS
from oxherd.dashboard.pages import PAGES
from tests.admin.test_canaries import CANARY, NUMBER, fail_as_node_does
from tests.asgi import Request
from tests.dashboard.visitor import OURS, visitor
from tests.harness import Records, until

# What an attacker would put into each text that reaches Redis.
MARKUP = "<img src=x onerror=alert(7391)>\"'</script>{{7*7391}}\x1b[2J\u202e\x00"


async def everything(herd: Oxherd, client: httpx2.AsyncClient) -> AsyncIterator[tuple[str, str]]:
    """Every page with every event, in every state, and the question of every action; then the streams."""
    ids = [
        str(found.id)
        for state in ("waiting", "delayed", "running", "completed", "failed")
        for found in await herd.admin.find(state=state).all()
    ]
    addresses: list[str] = []
    for path in PAGES:
        names = [event.name for event in herd] if "{name}" in path else [""]
        for event_id in ids if "{id}" in path else [""]:
            addresses += [path.format(name=name, id=event_id) for name in names]
    for event in herd:
        addresses += [f"/events/{event.name}?state={state}" for state in ("waiting", "delayed", "completed", "failed")]
        addresses += [f"/events/{event.name}?range={name}" for name in ("24h", "31d")]
        addresses += [f"/actions/{name}?event={event.name}" for name in ACTIONS]
    addresses += [f"/actions/retry?id={event_id}" for event_id in ids]
    for address in addresses:
        answer = await client.get(address)
        assert answer.status_code < 500, address
        yield address, answer.text + str(answer.headers)


class Order(BaseModel):
    number: int
    email: Annotated[str, Mask("email")] = f"alice@{CANARY}.nl"
    card: SecretStr = SecretStr(f"card-{CANARY}")
    note: Annotated[str, Mask()] = f"{CANARY}-note"
    phone: Annotated[int, Mask()] = NUMBER


async def test_no_canary_is_found_in_any_page(local_herd: Oxherd, records: Records) -> None:
    herd = local_herd

    @herd.event(
        "order.placed", retry=Retry(attempts=2, delay=0.01), keep=Keep(completed=10), shards=2,
        key=lambda order: f"key-{CANARY}-{order.number}",
    )  # fmt: skip
    async def order_placed(order: Order, ctx: Context) -> str:
        await ctx.progress({"at": f"progress {CANARY}"})
        await ctx.note(f"mail to {order.email}, call {order.phone}")
        if order.number == 1:
            raise ValueError(f"no mail for {order.email}, call {order.phone}")
        return f"receipt for {order.email}"

    @herd.event("order.untold", retry=Retry(attempts=1))
    async def untold(order: dict[str, str], ctx: Context) -> None:
        await ctx.note(f"hello {order['name']}")
        raise KeyError(order["name"])

    async with herd:
        failing = await order_placed.emit(Order(number=1))
        await order_placed.emit(Order(number=2))
        told = await untold.emit({"name": f"name {CANARY}"})
        await herd.start()
        await records.wait("event.end", 2, outcome="failed")
        await records.wait("event.end", outcome="completed")
        await herd.stop()
    async with herd, visitor(dashboard(herd), **OURS) as client:
        await order_placed.emit(Order(number=4), delay=3600)
        await order_placed.schedule("nightly", Cron("0 2 * * *"), Order(number=5))
        backend = await herd.backend()
        queues = [backend.queue_named(name) for row in await herd.admin.events() for name in row.queues]
        for foreign in (False, True):
            if foreign:
                for queue in queues:
                    for event_id in (failing.id, told.id):
                        await fail_as_node_does(queue, str(event_id))
            seen = 0
            async for address, text in everything(herd, client):
                seen += 1
                for secret in (CANARY, str(NUMBER)):
                    assert secret not in text, (address, text)
            assert seen > 40
        found = await client.get(f"/events/order.placed?state=failed&error={CANARY}")
        assert "None that is failed matches" in found.text, "a search tells nothing of what is hidden"
        await client.post(
            "/actions/retry", data={"event": "order.placed", "state": "failed", "error": "no mail", "all": "yes"}
        )
        await until(lambda: _audited(herd, 2))
        assert CANARY not in (await client.get("/audit")).text


async def _audited(herd: Oxherd, count: int) -> bool:
    return len(await herd.admin.audit()) >= count


@pytest.fixture
async def hostile(local_herd: Oxherd, records: Records) -> AsyncIterator[Oxherd]:
    """A herd whose queues others have filled with texts that want to be markup."""
    herd = local_herd

    @herd.event("order.placed", retry=Retry(attempts=1))
    async def placed(order: dict[str, str], ctx: Context) -> None:
        await ctx.note(MARKUP)
        raise type(MARKUP.replace("\x00", ""), (Exception,), {})(MARKUP)

    async with herd:
        failed = await placed.emit({"text": MARKUP})
        await herd.start()
        await records.wait("event.end", outcome="failed")
        await herd.stop()
    async with herd:
        await placed.schedule("hourly", Every(3600), {"text": MARKUP})
        k, call = (await herd.backend()).queue(placed.declaration).keys, (await herd.backend()).client.call
        for job_id in (MARKUP, "plain"):
            await call(
                k.slot, "HSET", k.job(job_id), "name", MARKUP, "data", '"x"', "timestamp", 1, "opts", "{}",
                "failedReason", MARKUP, "finishedOn", 5, "stacktrace", f'["{MARKUP[:20]}"]', "pb", MARKUP,
                "ox:end", f"failed {MARKUP}", "rjk", MARKUP, "ox:runs", MARKUP,
            )  # fmt: skip
            await call(k.slot, "ZADD", k.failed, 5, job_id)
        await call(k.slot, "RPUSH", k.logs(str(failed.id)), MARKUP)
        await call(k.slot, "HSET", f"{k.base}repeat:{MARKUP}", "name", MARKUP, "pattern", MARKUP, "ic", 1)
        await call(k.slot, "ZADD", k.repeat, 9_999_999_999_999, MARKUP)
        await herd.admin.pause("order.placed")
        yield herd


async def test_no_text_of_others_becomes_markup(hostile: Oxherd) -> None:
    app: Callable[..., Any] = dashboard(hostile)
    async with visitor(app, **OURS) as client:
        seen = 0
        async for address, text in everything(hostile, client):
            seen += 1
            assert_harmless(address, text)
        assert seen > 20
        for query in ("/search?q=", "/events/", "/stories/", "/events/order.placed?error=", "/actions/move?queue="):
            assert_harmless(query, (await client.get(query + "%3Cimg%20src=x%20onerror=alert(7391)%3E%22'")).text)
    async with Request(app, "/failed", query="live=1", spec="2.3", host="127.0.0.1") as stream:
        await until(lambda: b"order.placed" in stream.body)
        assert_harmless("stream", stream.body.decode())


def assert_harmless(address: str, text: str) -> None:
    for sign in ("<img", '</script>"', "54641677", "\x1b", "\u202e", "\x00"):
        assert sign not in text, (address, sign)
    outside = re.sub(r'"[^"]*"', '""', text)  # what is in quotes stays a value
    assert not re.search(r"<[a-z]+[^<>]*\sonerror=", outside), address

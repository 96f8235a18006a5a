"""Every action, by its question and its form; what runs in the background; the audit log."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from starlette.requests import Request

from oxherd import Every, Keep, Oxherd, PerKey, Rate, Retry
from oxherd.admin import Audited
from oxherd.bullmq.audit_log import audit_key
from oxherd.dashboard import Role, User, dashboard
from oxherd.dashboard.actions.routes import ACTIONS
from oxherd.errors import UsageError
from tests.admin.filled import fill_failed, fill_waiting, id_of
from tests.dashboard.visitor import OURS, visitor
from tests.harness import Records, until


@pytest.fixture
async def shop(herd: Oxherd) -> AsyncIterator[Oxherd]:
    herd.declare("order.placed", dict[str, int], retry=Retry(attempts=1))
    async with herd:
        yield herd


def hidden(page: str) -> dict[str, str]:
    """What the form of a question sends along, and its fields as they are filled in."""
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    return {**fields, **dict(re.findall(r'<input id="f-\w+" name="(\w+)" value="([^"]*)"', page))}


async def do(client: httpx2.AsyncClient, action: str, query: str, **filled: str) -> httpx2.Response:
    """Follow an action's question to its end; answers with the page that it leads to."""
    question = await client.get(f"/actions/{action}?{query}")
    assert question.status_code == 200, question.text
    form = question.text.split("<form", 2)[2]
    answer = await client.post(f"/actions/{action}", data={**hidden(form), **filled})
    assert answer.status_code == 303, answer.text
    return await client.get(answer.headers["location"])


async def ended(client: httpx2.AsyncClient, page: httpx2.Response) -> str:
    """The text of an operation's page once it has ended."""
    text = ""

    async def is_over() -> bool:
        nonlocal text
        text = (await client.get(str(page.url))).text
        return "Stop</button>" not in text

    await until(is_over)
    return text


async def test_each_action_on_a_selection_asks_how_many_and_does_it(shop: Oxherd) -> None:
    queue = (await shop.backend()).queue(shop["order.placed"].declaration)
    await fill_failed(queue, 30)
    async with visitor(dashboard(shop), **OURS) as client:
        question = (await client.get("/actions/retry?event=order.placed&state=failed&error=no+stock+of+1")).text
        assert "Retry 11 failed events of order.placed?" in question
        page = await do(client, "retry", "event=order.placed&state=failed&error=no+stock+of+1")
        assert "<strong>11</strong>" in await ended(client, page)
        assert (await shop.admin.events())[0].failed == 19
        one = id_of("failed", 20)
        assert "done" in await ended(client, await do(client, "discard", f"id={one}&state=failed"))
        assert await shop.admin.show(one) is None
        await shop["order.placed"].emit({"n": 1}, delay=3600)
        await ended(client, await do(client, "promote", "event=order.placed&state=delayed"))
        assert (await shop.admin.events())[0].delayed == 0
        await ended(client, await do(client, "cancel", "event=order.placed&state=waiting", reason="a mistake"))
        assert (await shop.admin.events())[0].waiting == 0
        entries = [row.entry for row in reversed(await shop.admin.audit())]
        told = [(each.action, each.outcome, each.done, each.selection) for each in entries]
        assert told[:4] == [
            ("retry", "begun", 0, "failed, an error text"),
            ("retry", "done", 11, "failed, an error text"),
            ("discard", "begun", 0, str(one)),
            ("discard", "done", 1, str(one)),
        ]
        assert {each.who for each in entries} == {"local"}
        page = (await client.get("/audit")).text
        assert "no stock" not in page
        assert "an error text" in page


async def test_everything_that_has_failed_is_retried_at_once(shop: Oxherd) -> None:
    shop.declare("mail.send", dict[str, int])
    for name in ("order.placed", "mail.send"):
        await fill_failed((await shop.backend()).queue(shop[name].declaration), 3)
    async with visitor(dashboard(shop), **OURS) as client:
        question = (await client.get("/actions/retry?state=failed")).text
        assert "Retry 6 failed events" in question
        await ended(client, await do(client, "retry", "state=failed"))
        assert [row.failed for row in await shop.admin.events()] == [0, 0]


async def test_a_long_operation_is_stopped_and_gone_on_with(shop: Oxherd) -> None:
    queue = (await shop.backend()).queue(shop["order.placed"].declaration)
    await fill_failed(queue, 20_000)
    async with visitor(dashboard(shop), **OURS) as client:
        page = await do(client, "retry", "event=order.placed&state=failed")
        await client.post(f"{page.url.path}/stop")
        text = await ended(client, page)
        assert "stopped" in text
        left = (await shop.admin.events())[0].failed
        assert 0 < left < 20_000
        answer = await client.post(f"{page.url.path}/go-on")
        assert answer.headers["location"] == page.url.path
        assert "<strong>20,000</strong> of 20,000 done" in await ended(client, page)
        assert (await shop.admin.events())[0].failed == 0
        outcomes = [row.entry.outcome for row in reversed(await shop.admin.audit())]
        assert outcomes == ["begun", "stopped", "begun", "done"]


async def test_pause_resume_and_limits_are_in_force_at_once(shop: Oxherd) -> None:
    async with visitor(dashboard(shop), **OURS) as client:
        assert "It is paused." in (await do(client, "pause", "event=order.placed")).text
        assert (await shop.admin.events())[0].paused
        assert "It goes on." in (await do(client, "resume", "event=order.placed")).text
        assert not (await shop.admin.events())[0].paused
        await do(client, "limits", "event=order.placed", count="100", seconds="60", max_running="7")
        limits = await shop.admin.limits("order.placed")
        assert limits.rate is not None
        assert (limits.rate.count, limits.rate.per_ms, limits.max_running) == (100, 60_000, 7)
        question = await client.get("/actions/limits?event=order.placed")
        assert hidden(question.text.split("<form", 2)[2]) == {
            "event": "order.placed", "count": "100", "seconds": "60", "max_running": "7",
        }  # fmt: skip
        await do(client, "limits", "event=order.placed", count="", seconds="", max_running="")
        assert (await shop.admin.limits("order.placed")).rate is None
        said = [(row.entry.action, row.entry.selection) for row in await shop.admin.audit()]
        assert said[:2] == [("limits", "no rate, no max running"), ("limits", "rate 100/60, max running 7")]


async def test_a_schedule_is_run_paused_and_resumed(shop: Oxherd) -> None:
    await shop["order.placed"].schedule("hourly", Every(3600), {"n": 1})
    async with visitor(dashboard(shop), **OURS) as client:
        assert "Its payload is emitted." in (await do(client, "run", "event=order.placed&schedule=hourly")).text
        assert (await shop.admin.events())[0].waiting == 1
        await do(client, "pause-schedule", "event=order.placed&schedule=hourly")
        assert (await shop.admin.schedules())[0].info.paused
        await do(client, "resume-schedule", "event=order.placed&schedule=hourly")
        assert not (await shop.admin.schedules())[0].info.paused


async def test_what_waits_under_a_renamed_events_queue_is_moved(
    shop: Oxherd, url: str, make_herd: Callable[..., Oxherd]
) -> None:
    old = make_herd(url)
    placed = old.declare("order.taken", dict[str, int])
    async with old:
        await placed.emit_many([{"n": n} for n in range(3)])
    async with visitor(dashboard(shop), **OURS) as client:

        async def is_told() -> bool:
            return "order.taken" in (await client.get("/")).text

        await until(is_told)
        assert 'href="/actions/move?queue=%7Border.taken%7D"' in (await client.get("/")).text
        page = await do(client, "move", "queue={order.taken}", event="order.placed")
        assert "<strong>3</strong>" in await ended(client, page)
        assert (await shop.admin.events())[0].waiting == 3


HOSTILE = [
    ("discard", {"state": "failed"}, 400),
    ("discard", {"evnet": "order.placed"}, 400),
    ("retry", {"event": "order.placed", "eror": "no stock"}, 400),
    ("cancel", {"state": "waiting", "all": "no"}, 400),
    ("retry", {"event": "none"}, 404),
    ("retry", {"event": "order.placed", "state": "waiting"}, 400),
    ("retry", {"event": "order.placed", "since": "x"}, 400),
    ("retry", {"id": "none"}, 400),
    ("promote", {"event": "order.placed", "state": "failed"}, 400),
    ("discard", {"event": "order.placed", "state": "running"}, 400),
    ("discard", {"event": "order.placed", "state": "../.."}, 400),
    ("pause", {"event": ""}, 404),
    ("pause", {"event": "{order.placed}"}, 404),
    ("limits", {"event": "order.placed", "count": "0", "seconds": "60"}, 400),
    ("limits", {"event": "order.placed", "count": "5"}, 400),
    ("limits", {"event": "order.placed", "count": "5", "seconds": "nan"}, 400),
    ("limits", {"event": "order.placed", "count": "5", "seconds": "1e999"}, 400),
    ("limits", {"event": "order.placed", "count": "-5", "seconds": "60"}, 400),
    ("limits", {"event": "order.placed", "max_running": "x"}, 400),
    ("run", {"event": "order.placed"}, 400),
    ("run", {"event": "order.placed", "schedule": "none"}, 400),
    ("pause-schedule", {"event": "order.placed", "schedule": "a/b"}, 400),
    ("move", {"queue": "{order.placed}", "event": "order.placed"}, 400),
    ("move", {"queue": "", "event": "order.placed"}, 400),
    ("move", {"queue": "a:b", "event": "order.placed"}, 400),
    ("drop", {"event": "order.placed"}, 404),
]


@pytest.mark.parametrize(("action", "fields", "status"), HOSTILE)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    local_herd: Oxherd, action: str, fields: dict[str, str], status: int
) -> None:
    local_herd.declare("order.placed", dict[str, int])
    async with local_herd, visitor(dashboard(local_herd), **OURS) as client:
        await local_herd["order.placed"].emit({"n": 1})
        before = await local_herd.admin.events()
        answer = await client.post(f"/actions/{action}", data=fields)
        assert answer.status_code == status, answer.text[-600:]
        after = await local_herd.admin.events()
        assert [(row.waiting, row.paused, row.limits) for row in after] == [
            (row.waiting, row.paused, row.limits) for row in before
        ]
        assert await local_herd.admin.audit() == []


async def test_the_page_of_each_action_can_be_read_without_a_form(local_herd: Oxherd) -> None:
    local_herd.declare("order.placed", dict[str, int])
    async with local_herd, visitor(dashboard(local_herd)) as client:
        for name in ACTIONS:
            answer = await client.get(f"/actions/{name}")
            assert answer.status_code in (200, 400, 404), name
        assert (await client.get("/operations/x/stop")).status_code == 405


async def test_what_others_have_written_into_the_audit_log_is_read_within_bounds(local_herd: Oxherd) -> None:
    local_herd.declare("order.placed", dict[str, int])
    async with local_herd, visitor(dashboard(local_herd)) as client:
        call = (await local_herd.backend()).client.call
        key = audit_key(local_herd.prefix)
        for fields in (
            ("who", "<script>alert(1)</script>" * 99, "done", "-1", "skipped", "9" * 99),
            ("nothing", "known"),
            ("done", "٣", "at", "never", "outcome", "\x1b[2J"),
            ("who", b"\xff\xfe"),
        ):
            await call(0, "XADD", key, "*", *fields)
        rows = await local_herd.admin.audit()
        assert [row.entry.done for row in rows] == [0, 0, 0, 0]
        assert len(rows[3].entry.who) == 300
        page = (await client.get("/audit")).text
        assert "<script>alert" not in page
        await call(0, "DEL", key)
        await call(0, "SET", key, "no stream")
        assert (await client.get("/audit")).status_code == 200, "what was known is shown"
        fresh = await client.get("/audit?rows=7")
        assert (fresh.status_code, "audit log" in fresh.text) == (500, True)


async def test_the_audit_log_is_bounded(local_herd: Oxherd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oxherd.bullmq.audit_log.MOST_ENTRIES", 200)
    async with local_herd:
        for number in range(1_000):
            await local_herd.admin.record(Audited("me", "dashboard", "retry", done=number))
        rows = await local_herd.admin.audit(limit=1_000)
        assert 200 <= len(rows) < 400
        assert rows[0].entry.done == 999
        for limit in (0, 1_001, True, "5"):
            with pytest.raises(UsageError, match="limit"):
                await local_herd.admin.audit(limit=limit)  # pyright: ignore[reportArgumentType]


async def test_ten_operations_run_at_once_and_no_more(local_herd: Oxherd, records: Records) -> None:
    local_herd.declare("order.placed", dict[str, int])
    async with local_herd, visitor(dashboard(local_herd), **OURS) as client:
        queue = (await local_herd.backend()).queue(local_herd["order.placed"].declaration)
        await fill_waiting(queue, 20_000)
        begun = [
            await client.post("/actions/cancel", data={"event": "order.placed", "state": "waiting"}) for _ in range(11)
        ]
        assert [answer.status_code for answer in begun] == [303] * 10 + [400]
        for answer in begun[:10]:
            await client.post(f"{answer.headers['location']}/stop")
        for answer in begun[:10]:
            await ended(client, await client.get(answer.headers["location"]))


async def test_no_more_than_ten_operations_begin_in_one_moment(local_herd: Oxherd) -> None:
    local_herd.declare("order.placed", dict[str, int])
    async with local_herd, visitor(dashboard(local_herd), **OURS) as client:
        queue = (await local_herd.backend()).queue(local_herd["order.placed"].declaration)
        await fill_waiting(queue, 20_000)
        fields = {"event": "order.placed", "state": "waiting"}
        begun = await asyncio.gather(*(client.post("/actions/cancel", data=fields) for _ in range(20)))
        leads_to = [answer.headers["location"] for answer in begun if answer.status_code == 303]
        assert len(leads_to) == 10
        for path in leads_to:
            await client.post(f"{path}/stop")
        for path in leads_to:
            await ended(client, await client.get(path))


async def test_whoever_goes_on_with_an_operation_is_in_the_audit_log_and_it_goes_on_once(shop: Oxherd) -> None:
    await fill_failed((await shop.backend()).queue(shop["order.placed"].declaration), 20_000)

    def by_header(request: Request) -> User:
        return User(request.headers["x-user"], Role.OPERATOR)

    async with visitor(dashboard(shop, authenticate=by_header), **OURS, x_user="olga") as client:
        page = await do(client, "retry", "event=order.placed&state=failed")
        await client.post(f"{page.url.path}/stop")
        assert "stopped" in await ended(client, page)
        oscar = {"x-user": "oscar"}
        await asyncio.gather(*(client.post(f"{page.url.path}/go-on", headers=oscar) for _ in range(5)))
        await ended(client, page)
        told = [(row.entry.who, row.entry.outcome) for row in reversed(await shop.admin.audit())]
        assert told == [("olga", "begun"), ("olga", "stopped"), ("oscar", "begun"), ("oscar", "done")]


async def test_a_completed_event_is_discarded_from_its_own_page(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=10))
    async def placed(order: dict[str, int]) -> None: ...

    async with herd, visitor(dashboard(herd), **OURS) as client:
        emitted = await placed.emit({"n": 1})
        await herd.start()
        await records.wait("event.end")
        story = (await client.get(f"/stories/{emitted.id}")).text
        (query,) = re.findall(r'/actions/discard\?([^"]+)"', story)
        assert "done" in await ended(client, await do(client, "discard", html.unescape(query)))
        assert await herd.admin.show(emitted.id) is None


async def test_the_limits_of_each_key_are_set_where_the_event_has_them(local_herd: Oxherd) -> None:
    herd = local_herd
    herd.declare("invoice.send", dict[str, int], key=lambda one: str(one["n"]), per_key=PerKey(1), shards=2)
    herd.declare("order.placed", dict[str, int], shards=2)
    async with herd, visitor(dashboard(herd), **OURS) as client:
        filled = {"key_count": "10", "key_seconds": "60", "key_max_running": "3"}
        await do(client, "limits", "event=invoice.send", **filled)
        found = (await herd.admin.limits("invoice.send")).per_key
        assert found == PerKey(3, Rate(10, per=60))
        assert "3 at once, 10 a minute" in (await client.get("/limits")).text, "what is in force, not what is declared"
        question = await client.get("/actions/limits?event=invoice.send")
        assert hidden(question.text.split("<form", 2)[2]) == {"event": "invoice.send", **filled}
        assert (await herd.admin.audit())[0].entry.selection == "of each key rate 10/60, max running 3"
        nothing = await client.get("/actions/limits?event=order.placed")
        assert (nothing.status_code, "nothing limits it" in nothing.text) == (400, True)

"""The drawings say what the code says: records, outcomes, states, options, shards, and what the log shows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Browser
from pydantic import BaseModel, SecretStr

import oxherd
from oxherd import Context, EventFailed, Mask, Oxherd, Retry, StopReport
from oxherd.answers.status import State
from oxherd.bullmq.shards import shard_of, shard_queues
from oxherd.declaration import EventOptions
from oxherd.producer.emit_options import EmitOptions
from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS
from oxherd.worker.running.outcome import Outcome
from tests.dashboard.site import chromium, require_chromium
from tests.docs.drawings import DOCS, DRAWINGS, SVG, drawing, texts, uses
from tests.harness import Records

REFERENCE = (DOCS / "reference.md").read_text()
RECORDS = set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \| ", REFERENCE, re.MULTILINE))
OPTIONS = EventOptions.__annotations__.keys() | EmitOptions.__annotations__.keys()
of_each_drawing = pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)


@of_each_drawing
def test_a_drawing_has_a_title_and_the_same_look_as_the_others(path: Path) -> None:
    root = ET.parse(path).getroot()
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}style") == ET.parse(DRAWINGS[0]).getroot().findtext(f"{SVG}style")
    assert root.get("viewBox") == f"0 0 440 {root.get('height')}"


@of_each_drawing
def test_a_page_shows_the_drawing_and_says_the_same_in_words(path: Path) -> None:
    said = [alternative for _, shown, alternative in uses() if shown == path]
    assert said
    drawn = set(texts(path, "record") + texts(path, "outcome"))
    for alternative in said:
        assert len(alternative) > 200
        assert [word for word in drawn if word not in alternative.lower()] == []


def test_no_page_shows_a_drawing_that_is_missing() -> None:
    assert {shown for _, shown, _ in uses()} == set(DRAWINGS)


@of_each_drawing
def test_what_it_calls_a_record_an_outcome_or_an_option_is_one(path: Path) -> None:
    assert set(texts(path, "record")) <= RECORDS
    assert set(texts(path, "outcome")) <= set(Outcome)
    assert set(texts(path, "state")) <= set(get_args(State))
    named = [name for text in texts(path, "option") for name in re.findall(r"--[a-z-]+|\w+=|[A-Za-z_]+", text)]
    for name in named:
        if name.startswith("--"):
            assert f"`{name} " in REFERENCE
        elif name.endswith("="):
            assert name[:-1] in OPTIONS
        else:
            assert name in ("fence", "key", "order", "emit", "True", "SecretStr") or hasattr(oxherd, name), name


def test_every_outcome_and_state_is_in_the_life_of_an_event() -> None:
    assert set(texts(drawing("event-life"), "outcome")) == set(Outcome)
    assert set(texts(drawing("event-life"), "state")) == set(get_args(State)) - {"waiting_children", *Outcome}


def test_a_stop_is_reported_in_the_words_of_its_drawing() -> None:
    assert set(texts(drawing("stop"), "word")) <= set(StopReport.__dataclass_fields__)
    [seconds] = re.findall(r"\((\d+) s\)", " ".join(texts(drawing("stop"), "soft")))
    assert int(seconds) == inspect.signature(Oxherd).parameters["stop_timeout"].default
    [statuses] = re.findall(r"^Exit status: (.*?)\.", REFERENCE, re.MULTILINE)
    assert set(texts(drawing("stop"), "status")) < set(re.findall(r"\d+", statuses))


def test_an_emit_fails_in_an_outage_after_the_time_that_is_drawn() -> None:
    [seconds] = re.findall(r"for (\d+) s,", " ".join(texts(drawing("outage"), "soft")))
    assert int(seconds) == inspect.signature(Oxherd).parameters["emit_timeout"].default


def test_shards_are_on_the_primaries_and_keys_in_the_shards_that_are_drawn() -> None:
    shards = [int(text.removeprefix("shard ")) for text in texts(drawing("shards"), "shard")]
    queues = shard_queues("order.placed", len(shards))
    primaries = [key_slot(queues[shard]) * 3 // SLOTS for shard in shards]
    assert primaries == [0, 0, 1, 1, 2, 2]
    keys = [text.removeprefix("key ") for text in texts(drawing("shards"), "key")]
    assert [shard_of(key.encode(), len(shards)) for key in keys] == shards[::2]


class Order(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")]
    card: SecretStr


async def test_the_log_shows_of_a_payload_what_is_drawn(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        ctx.log.info("paid by %s", order.card.get_secret_value())
        raise ValueError(f"{order.card.get_secret_value()} was declined")

    fields = [text.split(": ") for text in texts(drawing("log-shows"), "word") if ": " in text]
    order = Order.model_validate(
        {name: int(text) if text.isdigit() and len(text) < 6 else text for name, text in fields}
    )
    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed):
            await (await order_placed.emit(order)).result(timeout=30)
        await local_herd.stop()
    begin, own, end = (record for record in records.all if getattr(record, "event", None) == "order.placed")
    shown = ", ".join(str(value) for value in vars(begin)["payload"].values())
    assert [shown] == texts(drawing("log-shows"), "shown")
    assert [own.getMessage()] == texts(drawing("log-shows"), "own")
    assert [vars(end)["error"]["message"]] == texts(drawing("log-shows"), "error")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_chromium()
    with chromium() as started:
        yield started


@pytest.mark.slow
@pytest.mark.browser
@of_each_drawing
def test_every_text_is_within_its_drawing_and_in_no_other_text(path: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    boxes = page.evaluate(
        "[...document.querySelectorAll('text')].map(each => [each.textContent, each.getBBox()])"
        ".map(([text, box]) => [text, box.x, box.y, box.x + box.width, box.y + box.height])"
    )
    assert [text for text, left, _, right, _ in boxes if left < 8 or right > 432] == []
    overlapping = [
        (one[0], other[0])
        for index, one in enumerate(boxes)
        for other in boxes[index + 1 :]
        if min(one[3], other[3]) - max(one[1], other[1]) > 1 and min(one[4], other[4]) - max(one[2], other[2]) > 4
    ]
    assert overlapping == []
    page.close()

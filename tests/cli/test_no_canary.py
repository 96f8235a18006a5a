"""What is private, and what steers a terminal, is in no output of any command."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.cli.shop import Shop, make_shop, shop
from tests.cli.support import redis
from tests.cli.terminal import terminal
from tests.harness import run

# A process for each command.
pytestmark = pytest.mark.slow

__all__ = ["make_shop", "shop"]  # fixtures

STEERING = "\x1b]0;title\x07\x1b[31m\x9b2J\u202ekcab\u2066\r\u200b\x7f"
NOTE = f"canary-note-31415 {STEERING}"
APP = """
from typing import Annotated
from oxherd import Every, Mask, Oxherd, Retry
from pydantic import BaseModel, SecretStr

herd = Oxherd(prefix=PREFIX, emit_timeout=3)

class Order(BaseModel):
    number: int
    email: Annotated[str, Mask("email")]
    card: SecretStr
    note: str

@herd.event("order.placed", retry=Retry(attempts=1), sanitize=lambda order: {"number": order.number, "shown": STEERING})
async def order_placed(order: Order) -> str:
    if order.number % 2:
        raise ValueError(f"STEERING refused {order.email} {order.card.get_secret_value()} {order.note}")
    return order.note
"""
CANARIES = ("canary-note-31415", "canary-mail-27182", "canary-card-16180", "canary-job-14142")
# A line may end, and a style of our own may begin and end.
ALLOWED = re.compile(r"\x1b\[[0-9;]*m|\r?\n|\r")


def assert_clean(text: str, what: object) -> None:
    for canary in CANARIES:
        assert canary not in text, what
    assert "\x1b]" not in text, what
    left = ALLOWED.sub("", text)
    assert left.isprintable(), (what, left)


@pytest.fixture
def hostile(shop: Shop, prefix: str) -> Shop:
    """A shop with canaries and escapes wherever anybody may put a string."""
    app = APP.replace("STEERING}", "STEERING_TEXT}")
    source = app.replace("STEERING refused", "\\x1b[31m refused").replace("STEERING_TEXT", repr(STEERING))
    (shop.folder / "app.py").write_text(source.replace("PREFIX", repr(prefix)))
    payload = {"number": 1, "email": "canary-mail-27182@example.com", "card": "canary-card-16180", "note": NOTE}
    shop.emit("order.placed", payload, {**payload, "number": 2})
    shop.process(2)
    base = f"{prefix}:{{order.placed}}"
    # By another program: a job, its name, its id, its error, a schedule and a worker.
    job = f"canary-id {STEERING}"
    fields = ["name", f"name {STEERING}", "data", '{"note":"canary-job-14142"}', "opts", "{}", "timestamp", "1",
              "failedReason", f"why {STEERING}", "finishedOn", "1"]  # fmt: skip
    redis(shop.url, "HSET", f"{base}:{job}", *fields)
    redis(shop.url, "ZADD", f"{base}:failed", 9_999_999_999_999, job)
    run_line = json.dumps([1, 1, f"worker {STEERING}", 1, 1, STEERING, STEERING, f"canary-note-31415 {STEERING}"])
    for row in shop.json("find"):
        redis(shop.url, "HSET", f"{base}:{row['id']}", "ox:runs", run_line)
    redis(shop.url, "HSET", f"{prefix}:{{old}}:meta", "version", STEERING)
    redis(shop.url, "LPUSH", f"{prefix}:{{old}}:wait", job)
    redis(shop.url, "ZADD", f"{base}:repeat", 1, f"schedule {STEERING}")
    redis(
        shop.url,
        "HSET",
        f"{base}:repeat:schedule {STEERING}",
        "pattern",
        f"* {STEERING}",
        "data",
        '{"a":"canary-job-14142"}',
    )
    return shop


def test_nothing_private_and_no_escape_is_in_any_output(hostile: Shop) -> None:
    shop = hostile
    ids = {row["id"] for row in shop.json("find")}
    assert len(ids) == 2
    commands = [["ls"], ["find"], ["find", "--state", "waiting"], ["schedules"], ["workers"], ["doctor"],
                ["limits", "order.placed"], *(["show", event_id] for event_id in ids)]  # fmt: skip
    for words in commands:
        command, *rest = words
        for more in ([], ["--json"]):
            done = run(
                shop.folder, sys.executable, "-m", "oxherd", command, "app:herd", *rest, *more, OXHERD_URL=shop.url
            )
            assert_clean(done.stdout + done.stderr, (words, more))
        with terminal(shop.folder, command, "app:herd", *rest, url=shop.url) as started:
            started.end()
        assert_clean(started.text, words)
    for words in (
        ["retry", "--all"],
        ["retry", f"x{STEERING}"],
        ["pause", f"x{STEERING}"],
        ["discard", "--all", "--yes"],
    ):
        done = run(shop.folder, sys.executable, "-m", "oxherd", words[0], "app:herd", *words[1:], OXHERD_URL=shop.url)
        assert_clean(done.stdout + done.stderr, words)

"""The commands in a real terminal: wide, narrow, without colour, cut off by a pipe, asked and interrupted."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from oxherd.cli.shown.screen import width_of
from tests.cli.shop import Shop, make_shop, shop
from tests.cli.terminal import in_terminal, terminal
from tests.harness import environment, run

# A process for each command.
pytestmark = pytest.mark.slow

__all__ = ["make_shop", "shop"]  # fixtures

LONG = "the shelf of the warehouse in Rotterdam that was closed for the night, and in no other one either"


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """A shop in which something waits, is paused and has failed."""
    shop.emit("order.placed", *({"number": number, "note": LONG} for number in range(1, 8)))
    shop.process(7)
    shop.emit("order.billed", *({"number": number} for number in range(1200)))
    shop.run("pause", "mail.send")
    return shop


def test_no_line_is_longer_than_the_terminal_and_each_width_has_what_counts(busy: Shop) -> None:
    event_id = busy.json("find", "--limit", "1")[0]["id"]
    commands = [
        (["ls"], 0),
        (["find"], 0),
        (["find", "--state", "waiting"], 0),
        (["show", event_id], 0),
        (["doctor"], 1),
        (["schedules"], 0),
        (["limits", "order.placed"], 0),
    ]
    for columns, (command, status) in product([120, 80, 40, 24], commands):
        lines = busy.screen(*command, columns=columns, status=status)
        own = [line for line in lines if not line.startswith("there are more")]
        assert max(map(width_of, own)) <= columns, own
        assert own
    heading, placed, billed, mail = busy.screen("ls")
    assert heading.split() == ["EVENT", "WAITING", "RUNNING", "DELAYED", "FAILED", "OLDEST", "WORKERS", "STATE"]
    assert placed.split()[:2] == ["order.placed", "0"]
    assert billed.split()[:2] == ["order.billed", "1,200"]
    assert billed.endswith("no worker")
    assert mail.endswith("paused")
    # Of 40 columns some are left out, and notes stand below.
    lines = busy.screen("ls", columns=40)
    assert lines[0].split() == ["EVENT", "WAITING", "FAILED", "WORKERS"]
    assert lines[3:] == ["  no worker", "mail.send           0       0        0", "  paused"]
    # An error without room is folded below its event.
    lines = busy.screen("find", "--limit", "1")
    assert re.match(r"[0-9a-f-]{36}  order.placed", lines[1])
    assert " ".join(line.strip() for line in lines[2:-1]) == f"ValueError: no stock for {LONG}"


def test_a_terminal_has_colour_unless_it_is_not_wanted(busy: Shop) -> None:
    for no_color, term, coloured in (("", "xterm", True), ("1", "xterm", False), ("", "dumb", False)):
        with terminal(busy.folder, "ls", "app:herd", url=busy.url, NO_COLOR=no_color, TERM=term) as started:
            assert started.end() == 0
        assert ("\x1b[" in started.text) is coloured, (no_color, term)
    assert "\x1b" not in busy.run("ls").stdout


def test_a_pipe_gets_whole_lines_and_may_close_early(busy: Shop) -> None:
    assert f"ValueError: no stock for {LONG}\n" in busy.run("find").stdout
    for command in ("ls", "find app:herd --state waiting --limit 0", "find app:herd --state waiting --limit 0 --json"):
        line = f"{sys.executable} -m oxherd {command if ' ' in command else f'{command} app:herd'} | head -1"
        done = run(busy.folder, "bash", "-c", line, OXHERD_URL=busy.url)
        assert (done.stderr, done.stdout.count("\n")) == ("", 1)


def test_a_question_is_asked_before_what_destroys(busy: Shop) -> None:
    for answer, status, left in (("n\r", 1, 4), ("\r", 1, 4), ("y\r", 0, 0)):
        with terminal(busy.folder, "discard", "app:herd", "order.placed", url=busy.url) as started:
            started.wait_for("Remove 4 events that are failed of order.placed, for good? [y/N]")
            started.type(answer)
            assert started.end() == status
        assert busy.event("order.placed")["failed"] == left
    assert "4 discarded" in started.text


def test_ctrl_c_at_a_question_changes_nothing(busy: Shop) -> None:
    with terminal(busy.folder, "discard", "app:herd", "order.placed", url=busy.url) as started:
        started.wait_for("[y/N]")
        started.type("\x03")
        assert started.end() == 130
    assert started.lines[-2].endswith("[y/N] ^C")
    assert started.lines[-1] == ""
    assert busy.event("order.placed")["failed"] == 4


MANY = """
import asyncio, app
async def main():
    async with app.herd:
        await app.herd["order.billed"].emit_many([app.Order(number=n) for n in range(30_000)], delay=86_400)
asyncio.run(main())
"""


def test_ctrl_c_ends_long_work_after_a_batch_and_says_how_to_go_on(shop: Shop) -> None:
    variables = environment(OXHERD_URL=shop.url)
    subprocess.run([sys.executable, "-c", MANY], cwd=shop.folder, env=variables, check=True)
    with terminal(shop.folder, "promote", "app:herd", "order.billed", url=shop.url) as started:
        started.wait_for(" of 30,000 ")
        started.type("\x03")
        assert started.end() == 130
    (done,) = re.findall(r"^([\d,]+) promoted", "\n".join(started.lines), re.MULTILINE)
    count = int(done.replace(",", ""))
    assert 0 < count < 30_000
    assert count % 500 == 0
    row = shop.event("order.billed")
    assert (row["waiting"], row["delayed"]) == (count, 30_000 - count)
    # The bar is gone, and the last line goes on, whatever the terminal has folded.
    text = "".join(started.lines)
    words = shlex.split(text[text.index("oxherd promote") :])[1:]
    assert "[####" not in started.lines[-2]
    lines = in_terminal(shop.folder, *words, url=shop.url)
    assert lines[-1] == f"{30_000 - count:,} promoted"
    assert shop.event("order.billed")["waiting"] == 30_000


def test_a_bar_fits_a_narrow_terminal(shop: Shop) -> None:
    variables = environment(OXHERD_URL=shop.url)
    program = MANY.replace("30_000", "3_000")
    subprocess.run([sys.executable, "-c", program], cwd=shop.folder, env=variables, check=True)
    with terminal(shop.folder, "promote", "app:herd", "order.billed", url=shop.url, columns=24) as started:
        assert started.end() == 0
    drawn = re.split(r"[\r\n]", started.text)
    assert max(map(len, drawn)) < 24
    assert any(part.strip().endswith(" of 3,000") for part in drawn)
    assert "3,000 promoted" in drawn


def test_a_tail_in_a_terminal_ends_by_ctrl_c(shop: Shop, tmp_path: Path) -> None:
    with terminal(shop.folder, "tail", "app:herd", url=shop.url) as started:
        worker = shop.worker("--event", "order.placed")
        count = 0
        while " completed in " not in started.text:
            shop.emit("order.placed", {"number": 2})
            count += 1
            worker.wait("event.end", count=count)
            started.read_for(1.0)
        started.type("\x03")
        assert started.end() == 0
    assert "interrupted" not in started.text

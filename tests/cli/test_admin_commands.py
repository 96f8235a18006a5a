"""The commands that read and steer: what they print, for people and for programs, and what they change."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from uuid import uuid4

import pytest

from oxherd import Oxherd
from oxherd.admin import Audited
from oxherd.bullmq.audit_log import audit_key
from oxherd.servers.local_cluster import LocalCluster
from tests.cli.shop import Shop, make_shop, shop
from tests.cli.support import redis
from tests.harness import environment

# A process for each command.
pytestmark = pytest.mark.slow

__all__ = ["make_shop", "shop"]  # fixtures


def order(number: int, **fields: str) -> dict[str, object]:
    return {"number": number, **fields}


def orders(count: int) -> list[dict[str, object]]:
    return [order(number) for number in range(count)]


def test_ls_lists_the_events_with_what_they_hold(shop: Shop) -> None:
    shop.emit("order.placed", *orders(4))
    shop.process(4)
    shop.emit("order.billed", *orders(3))
    rows = shop.json("ls")
    assert [row["name"] for row in rows] == ["order.placed", "order.billed", "mail.send"]
    counts = {row["name"]: (row["waiting"], row["running"], row["delayed"], row["failed"]) for row in rows}
    assert counts == {"order.placed": (0, 0, 1, 2), "order.billed": (3, 0, 0, 0), "mail.send": (0, 0, 0, 0)}
    table = shop.run("ls").stdout.splitlines()
    assert table[0].split() == [
        "EVENT",
        "WAITING",
        "RUNNING",
        "DELAYED",
        "FAILED",
        "OLDEST",
        "DONE/MIN",
        "WORKERS",
        "STATE",
    ]
    assert table[2].startswith("order.billed        3")
    assert table[2].endswith("no worker")


def test_ls_tells_a_pause_and_live_workers(shop: Shop) -> None:
    worker = shop.worker("--event", "order.placed")
    worker.wait("worker.start")
    assert shop.run("pause", "order.placed").stdout.startswith("order.placed is paused")
    line = shop.run("ls").stdout.splitlines()[1]
    assert line.split()[-2:] == ["1", "paused"]
    (info,) = shop.json("workers")
    assert (info["pid"], info["events"]) == (worker.process.pid, ["order.placed"])
    assert abs(info["clock_ahead"]) < 5
    assert str(worker.process.pid) in shop.run("workers").stdout
    shop.run("resume", "order.placed")
    assert shop.event("order.placed")["paused"] is False


KEYED = """
from oxherd import Oxherd, PerKey

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed", key=lambda number: number % 10, per_key=PerKey(max_running=5))
async def order_placed(number: int) -> None: ...
"""


def test_one_key_is_paused_and_resumed(make_shop: Callable[..., Shop], standalone: str) -> None:
    shop = make_shop(standalone, KEYED)
    assert shop.run("pause", "order.placed", "--key", "7").stdout.startswith("that key of order.placed is paused")
    shop.run("emit", "order.placed", "-", stdin="7\n8\n")
    worker = shop.worker()
    worker.wait("event.end", count=1)
    shop.run("resume", "order.placed", "--key", "7")
    worker.wait("event.end", count=2)


def test_find_finds_by_error_time_and_state(shop: Shop) -> None:
    ids = shop.emit("order.placed", *orders(4))
    shop.process(4)
    waiting = shop.emit("order.billed", order(1))
    assert {row["id"] for row in shop.json("find")} == {ids[1], ids[3]}
    found = shop.json("find", "--error", "FOR 3")
    assert [row["id"] for row in found] == [ids[3]]
    assert found[0]["error"] == {"type": "ValueError", "message": "no stock for 3"}
    assert shop.json("find", "--error-type", "KeyError") == []
    assert len(shop.json("find", "order.placed", "--since", "1h", "--limit", "1")) == 1
    assert shop.json("find", "--until", "1h") == []
    assert [row["id"] for row in shop.json("find", "order.billed", "--state", "waiting")] == waiting
    printed = shop.run("find", "--limit", "1")
    assert printed.stdout.splitlines()[1].endswith("ValueError: no stock for 3")
    assert "more than 1" in printed.stderr


def test_show_tells_an_events_story(shop: Shop) -> None:
    (event_id,) = shop.emit("order.placed", order(1))
    shop.process(1)
    printed = shop.run("show", event_id).stdout
    assert "state      failed - attempt 1 of 1, begun once\n" in printed
    assert "error      ValueError: no stock for 1\n" in printed
    table = printed[printed.index("ATTEMPT") :]
    assert table.splitlines()[0].split() == ["ATTEMPT", "BEGAN", "TOOK", "OUTCOME", "WORKER", "ERROR"]
    row = r" *1  [-\d]+ [:\d]+ +[\d.]+ m?s  failed +\S+:\d+:[0-9a-f]{12}  ValueError: no stock for 1"
    assert re.fullmatch(row, table.splitlines()[1])
    assert "\ntrace 1    " in table
    assert "c***@***" in printed
    (story,) = shop.json("show", event_id)
    assert (story["event"], story["state"], story["attempts"][0]["error"]["type"]) == (
        "order.placed", "failed", "ValueError",
    )  # fmt: skip
    (attempt,) = story["attempts"]
    assert (attempt["number"], attempt["fence"], attempt["outcome"]) == (1, 1, "failed")
    assert attempt["worker"]
    assert attempt["began_at"] <= attempt["ended_at"]
    assert "Nothing is stored" in shop.run("show", str(uuid4()), status=1).stderr
    assert "UUID" in shop.run("show", "7", status=2).stderr


def test_retry_puts_back_what_has_failed(shop: Shop) -> None:
    ids = shop.emit("order.placed", *orders(6))
    shop.process(6)
    assert shop.run("retry", ids[1]).stdout == "1 retried\n"
    assert shop.run("retry", "--error", "for 3").stdout.startswith("1 retried")
    assert shop.run("retry", "order.placed", "--since", "1h").stdout.startswith("1 retried")
    assert shop.event("order.placed")["waiting"] == 3
    assert shop.run("retry", "--all").stdout == "0 retried\n"
    assert shop.run("retry", ids[0], status=1).stdout == "0 retried, 1 left alone\n"


def test_discard_asks_and_then_removes(shop: Shop) -> None:
    shop.emit("order.placed", *orders(4))
    shop.process(4)
    error = shop.run("discard", "order.placed", status=2).stderr
    assert "Remove 2 events that are failed of order.placed, for good?" in error
    assert "say --yes" in error
    assert shop.event("order.placed")["failed"] == 2
    assert shop.run("discard", "order.placed", "--yes").stdout == "2 discarded\n"
    assert shop.event("order.placed")["failed"] == 0
    shop.emit("order.billed", *orders(3))
    assert shop.run("discard", "order.billed", "--state", "waiting", "--yes").stdout == "3 discarded\n"
    assert shop.event("order.billed")["waiting"] == 0


def test_promote_makes_what_is_delayed_due(shop: Shop) -> None:
    program = "import asyncio, app\nasync def main():\n    async with app.herd:\n        "
    emit = 'print((await app.herd["order.billed"].emit(app.Order(number=1), delay=3600)).id)\nasyncio.run(main())'
    done = subprocess.run(
        [sys.executable, "-c", program + emit],
        cwd=shop.folder,
        env=environment(OXHERD_URL=shop.url),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shop.json("find", "--state", "delayed")[0]["id"] == done.stdout.strip()
    assert shop.run("promote", "order.billed").stdout == "1 promoted\n"
    assert shop.event("order.billed")["waiting"] == 1


def test_cancel_removes_what_waits(shop: Shop) -> None:
    ids = shop.emit("order.placed", *orders(3))
    assert shop.run("cancel", *ids[:2], "--reason", "customer called").stdout == "2 cancelled\n"
    assert shop.event("order.placed")["waiting"] == 1
    assert shop.run("cancel", ids[0], status=1).stdout == "0 cancelled, 1 left alone\n"


def test_schedules_lists_the_next_ticks(shop: Shop) -> None:
    worker = shop.worker("--event", "order.placed")
    worker.wait("worker.start")
    (row,) = shop.json("schedules")
    assert (row["event"], row["name"], row["when"], row["declared"]) == (
        "order.placed", "nightly", "0 2 * * * (UTC)", True,
    )  # fmt: skip
    assert "nightly" in shop.run("schedules", "order.placed").stdout


def test_limits_are_printed_and_set(shop: Shop) -> None:
    assert shop.run("limits", "order.placed").stdout == "rate         no limit\nmax running  no limit\n"
    shop.run("limits", "order.placed", "--rate", "100/60", "--max-running", "20")
    assert shop.json("limits", "order.placed") == [
        {"event": "order.placed", "rate": {"count": 100, "per": 60.0}, "max_running": 20, "per_key": None}
    ]
    shop.run("limits", "order.placed", "--rate", "none", "--max-running", "none")
    assert shop.json("limits", "order.placed")[0]["rate"] is None


def test_move_takes_what_waits_under_a_renamed_event(shop: Shop) -> None:
    shop.emit("order.placed", *orders(5))
    app = shop.folder / "app.py"
    app.write_text(app.read_text().replace('"order.placed"', '"order.received"'))
    moved = shop.run("move", "{order.placed}", "order.received")
    assert (moved.stdout, moved.stderr) == ("5 moved\n", "")
    assert shop.event("order.received")["waiting"] == 5


def test_everything_is_read_on_a_cluster(make_shop: Callable[..., Shop], cluster: LocalCluster) -> None:
    shop = make_shop(cluster.url)
    ids = shop.emit("order.placed", *orders(4))
    shop.process(4)
    assert shop.event("order.placed")["failed"] == 2
    assert {row["id"] for row in shop.json("find")} == {ids[1], ids[3]}
    assert shop.json("show", ids[1])[0]["state"] == "failed"
    assert shop.run("retry", "order.placed").stdout == "2 retried\n"
    assert {finding["check"] for finding in shop.json("doctor", status=1)} >= {"no worker"}


SHARDED = """
from oxherd import Oxherd, Retry

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed", shards=4, retry=Retry(attempts=1))
async def order_placed(number: int) -> None:
    raise ValueError(f"no stock for {number}")
"""


def test_an_event_of_four_shards_on_a_cluster_is_one_row_and_acted_on_in_all(
    make_shop: Callable[..., Shop], cluster: LocalCluster
) -> None:
    shop = make_shop(cluster.url, SHARDED)
    ids = shop.run("emit", "order.placed", "-", stdin="\n".join(map(str, range(40)))).stdout.split()
    (row,) = shop.json("ls")
    assert (row["name"], row["waiting"], len(set(row["queues"]))) == ("order.placed", 40, 4)
    (stuck,) = [finding for finding in shop.json("doctor", status=1) if finding["check"] == "no worker"]
    assert stuck["what"].startswith("order.placed: 40 waiting")
    shop.process(40)
    assert {found["id"] for found in shop.json("find", "order.placed", "--limit", "100")} == set(ids)
    assert len(shop.json("find", "--error", "for 3")) == 11
    assert len(shop.run("ls").stdout.splitlines()) == 2
    (failures,) = [finding for finding in shop.json("doctor", status=1) if finding["check"] == "failures"]
    assert failures["what"] == "order.placed: 40 failed within the hour, all with ValueError"
    assert shop.run("retry", "order.placed").stdout == "40 retried\n"
    assert (shop.event("order.placed")["waiting"], shop.event("order.placed")["failed"]) == (40, 0)


def test_what_the_commands_do_is_in_the_audit_log_with_who_did_it(shop: Shop, prefix: str) -> None:
    ids = shop.emit("order.placed", *orders(4))
    shop.process(4)
    shop.run("retry", "order.placed", "--error", "for 3")
    shop.run("discard", ids[1], "--yes")
    shop.run("pause", "order.placed")
    shop.run("resume", "order.placed")
    shop.run("limits", "order.placed", "--rate", "100/60", "--max-running", "none")
    shop.run("limits", "order.placed")
    shop.run("cancel", ids[3])
    shop.run("pause", "order.palced", status=2)

    async def entries() -> list[Audited]:
        async with Oxherd(shop.url, prefix=prefix) as herd:
            return [row.entry for row in reversed(await herd.admin.audit())]

    found = asyncio.run(entries())
    assert [(each.action, each.subject, each.selection, each.done, each.outcome) for each in found] == [
        ("retry", "order.placed", "failed, an error text", 0, "begun"),
        ("retry", "order.placed", "failed, an error text", 1, "done"),
        ("discard", "", "1 UUID", 0, "begun"),
        ("discard", "", "1 UUID", 1, "done"),
        ("pause", "order.placed", "", 0, "done"),
        ("resume", "order.placed", "", 0, "done"),
        ("limits", "order.placed", "rate 100/60, no max running", 0, "done"),
        ("cancel", "", "1 UUID", 0, "begun"),
        ("cancel", "", "1 UUID", 1, "done"),
    ]
    who = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
    assert {(each.who, each.via) for each in found} == {(who, "command line")}


def test_nothing_long_is_begun_that_the_audit_log_cannot_have(shop: Shop, prefix: str) -> None:
    shop.emit("order.placed", *orders(2))
    shop.process(2)
    redis(shop.url, "SET", audit_key(prefix), "no stream")
    assert "audit log" in shop.run("retry", "order.placed", status=1).stderr
    assert shop.event("order.placed")["failed"] == 1
    assert "it is done, but not in the audit log" in shop.run("pause", "order.placed").stderr


BAD: dict[str, tuple[list[str], str]] = {
    "no selection": (["retry"], "retry needs a selection"),
    "no selection to discard": (["discard", "--yes"], "--all"),
    "two events": (["retry", "order.placed", "order.billed"], "One event at a time"),
    "an unknown event": (["find", "order.palced"], "did you mean 'order.placed'?"),
    "an unknown event to pause": (["pause", "order.palced"], "did you mean 'order.placed'?"),
    "a state that is none": (["find", "--state", "broken"], "--state"),
    "a state to retry": (["retry", "--all", "--state", "waiting"], "retry is for what is failed"),
    "a time that is none": (["find", "--since", "yesterday"], "--since is so long ago"),
    "ids and a filter": (["retry", str(uuid4()), "--error", "x"], "not both"),
    "a rate that is none": (["limits", "order.placed", "--rate", "fast"], "--rate is N/SECONDS"),
    "a rate of nothing": (["limits", "order.placed", "--rate", "0/60"], "Rate.count"),
    "a number that is none": (["limits", "order.placed", "--max-running", "-1"], "--max-running"),
    "a key of an event that has none": (["pause", "order.placed", "--key", "7"], "per_key"),
    "no event to pause": (["pause"], "EVENT is missing"),
    "no UUID": (["cancel", "order.placed"], "UUID"),
    "too many": (["pause", "order.placed", "order.billed"], "Too many arguments"),
    "an event's queue to move": (["move", "{order.placed}", "order.billed"], "is an event's"),
    "a payload as an event": (["find", '{"card": "hunter22"}'], "No event has that name"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_that_says_what_to_do(what: str, shop: Shop) -> None:
    words, said = BAD[what]
    done = shop.run(*words, status=2)
    assert said in done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "hunter22" not in done.stderr


def test_tail_prints_begins_and_ends_until_ctrl_c(shop: Shop) -> None:
    shop.run("ls")
    tail = subprocess.Popen(
        [sys.executable, "-u", "-m", "oxherd", "tail", "app:herd"],
        cwd=shop.folder,
        env=environment(OXHERD_URL=shop.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tail.stdout is not None
        ids: list[str] = []
        worker = shop.worker("--event", "order.placed")
        line = ""
        # Until it follows: what was emitted before is not told.
        while " began" not in line:
            ids += shop.emit("order.placed", order(1))
            worker.wait("event.end", count=len(ids))
            line = _line_within(tail, 1.0)
        told = [line, tail.stdout.readline()]
        assert told[0].split()[1:] == [ids[-1], "order.placed", "began"]
        assert told[1].split()[1:4] == [ids[-1], "order.placed", "failed"]
        assert told[1].rstrip().endswith("ValueError: no stock for 1")
        tail.send_signal(signal.SIGINT)
        assert (tail.wait(20), tail.stderr.read() if tail.stderr else "") == (0, "")
    finally:
        tail.kill()
        tail.communicate()


def _line_within(process: subprocess.Popen[str], seconds: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_completes_the_commands(shell: str, shop: Shop) -> None:
    program = "import sys; sys.argv[0] = 'oxherd'; from oxherd.cli import main; main()"
    asked = {"_OXHERD_COMPLETE": f"source_{shell}"}
    script = _python(shop, program, **asked)
    assert "_OXHERD_COMPLETE" in script
    words = {
        "COMP_WORDS": "oxherd do",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "oxherd do",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    assert "doctor" in _python(shop, program, _OXHERD_COMPLETE=f"complete_{shell}", **words)


def _python(shop: Shop, program: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shop.folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


NOTED = """
from oxherd import Context, Oxherd, Retry

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed", retry=Retry(attempts=1))
async def order_placed(number: int, ctx: Context) -> None:
    await ctx.note("asking the bank \\x1b[31m")
    raise ValueError("no")
"""


def test_the_notes_of_an_event_are_shown_and_its_figures_are_json(
    make_shop: Callable[..., Shop], standalone: str
) -> None:
    shop = make_shop(standalone, NOTED)
    event_id = shop.run("emit", "order.placed", "7").stdout.strip()
    shop.process(1)
    (line,) = [line for line in shop.run("show", event_id).stdout.splitlines() if line.startswith("note")]
    assert line.split() == ["note", "asking", "the", "bank", "\\x1b[31m"]
    (story,) = shop.json("show", event_id)
    assert story["notes"] == ["asking the bank \x1b[31m"]
    recent = shop.event("order.placed")["recent"]
    assert (recent["begun"], recent["failed"], recent["completed"], recent["ran"]["count"]) == (1, 1, 0, 1)
    assert recent["failed_rate"] == pytest.approx(60 / recent["seconds"], abs=0.001)
    assert recent["ran"].keys() == {"count", "mean", "p50", "p95"}

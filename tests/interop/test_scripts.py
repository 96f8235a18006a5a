"""BullMQ's scripts have the names and key counts that we expect, and we call each as BullMQ's own classes do.

Stand-ins for oxherd's client and BullMQ's connection record what is sent. A release of `bullmq` that moves a key or an
argument fails here, not in production.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import re
import time
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zlib import crc32

import msgpack
import pytest

from oxherd.bullmq import scripts
from oxherd.bullmq.cancellation import cancel_job
from oxherd.bullmq.job import Job, NewJob, decode
from oxherd.bullmq.job_log import add_line
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pausing import set_paused
from oxherd.bullmq.promotion import promote
from oxherd.bullmq.queue import BullQueue, finish_options
from oxherd.bullmq.removal import remove_job
from oxherd.bullmq.replies import Refusal
from oxherd.bullmq.reprocess import reprocess
from oxherd.bullmq.schedule_states import Repeat, ScheduleState
from oxherd.bullmq.schedulers import Schedulers
from oxherd.redis.url import parse_url

PREFIX, QUEUE = "bull", "{order.placed}"
BASE = f"{PREFIX}:{QUEUE}:"
JOB_ID, TOKEN = "0198a0f0-0000-7000-8000-0000000000ab", "worker:1"
OPTIONS: dict[str, Any] = {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000, "jitter": 0.5}}
TICK = 1_700_000_000_000  # long ago: a tick that is due has no delay
_NOW = "the time now"

unpack: Callable[[bytes], Any] = cast("Any", msgpack).unpackb


# -- names and versions


@pytest.mark.parametrize("name", scripts.BULLMQ)
def test_the_installed_bullmq_has_each_script_that_we_call_with_that_number_of_keys(name: str) -> None:
    script = scripts.script(name)
    file = scripts.folder() / f"{name}-{scripts.BULLMQ[name]}.lua"
    assert script.text == file.read_bytes()
    assert script.keys == scripts.BULLMQ[name]
    assert script.sha.decode() == hashlib.sha1(script.text, usedforsecurity=False).hexdigest()
    named = [int(number) for number in re.findall(r"KEYS\[(\d+)\]", script.text.decode())]
    assert max(named) <= script.keys
    # There is no other version of it.
    assert [path.name for path in scripts.folder().glob(f"{name}-*.lua")] == [file.name]


def test_the_installed_bullmq_is_within_the_range_that_is_pinned() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (pinned,) = [text for text in project["project"]["dependencies"] if text.startswith("bullmq")]
    bounds = re.fullmatch(r"bullmq>=(\d+\.\d+\.\d+),<(\d+\.\d+\.\d+)", pinned)
    assert bounds is not None, pinned
    low, high = [tuple(map(int, bound.split("."))) for bound in bounds.groups()]
    installed = tuple(map(int, importlib.metadata.version("bullmq").split(".")))
    assert low <= installed < high
    # None later than the one that is tested, since even 3.4.3 changed scripts of 3.4.0.
    assert high == (*installed[:2], installed[2] + 1)


def test_each_script_of_bullmq_that_we_call_has_its_hash() -> None:
    listed = [
        line.split()[1] for line in (Path(scripts.__file__).parent / "lua" / "bullmq.sha256").read_text().splitlines()
    ]
    assert sorted(listed) == sorted(f"{name}-{keys}.lua" for name, keys in scripts.BULLMQ.items())


def test_the_codes_of_refusal_are_those_of_bullmq() -> None:
    codes: dict[str, int] = {each.name: each.value for each in bullmq("error_code").ErrorCode}
    ours = {Refusal.PARENT_ELSEWHERE, Refusal.PARENT_DAMAGED, Refusal.CANCELLED}
    assert min(codes.values()) > max(ours)
    assert {each.name: each.value for each in set(Refusal) - ours} == {
        "MISSING": codes["JobNotExist"],
        "LOCK_MISSING": codes["JobLockNotExist"],
        "NOT_ACTIVE": codes["JobNotInState"],
        "PENDING_CHILDREN": codes["JobPendingDependencies"],
        "LOCK_TAKEN": codes["JobLockMismatch"],
        "FAILED_CHILDREN": codes["JobHasFailedChildren"],
    }


# -- calls


def bullmq(module: str) -> Any:
    """A module of the package, which has no types."""
    return importlib.import_module(f"bullmq.{module}")


@dataclass
class Sent:
    """One call of a script on its way to the server."""

    name: str
    keys: list[str]
    arguments: list[Any]
    text: bytes = b""


@dataclass
class OurClient:
    """In place of oxherd's client."""

    sent: list[Sent] = field(default_factory=list[Sent])
    url = parse_url("redis+cluster://127.0.0.1:1")

    async def script(self, slot: int, script: Any, arguments: tuple[Any, ...], **_: Any) -> Any:
        keys = [str(key) for key in arguments[: script.keys]]
        self.sent.append(Sent(script.name, keys, [seen(each) for each in arguments[script.keys :]], script.text))
        replies: dict[str, Any] = {
            "getCounts": [0] * len(STATES),
            "check_stalled": [[], []],
            "schedule": ["id", 0],
        }
        return replies.get(script.name, 0)

    async def call(self, slot: int, *command: Any) -> int:
        return 0


class TheirConnection:
    """In place of BullMQ's `RedisConnection`; `commands` are the scripts by name."""

    def __init__(self) -> None:
        self.conn = None
        self.sent: list[Sent] = []
        self.commands = {name: self._command(name) for name in scripts.BULLMQ}

    def _command(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def command(keys: list[str], args: list[Any], client: Any = None) -> Any:
            self.sent.append(Sent(name, keys, [seen(each) for each in args]))

        return command


def seen(argument: Any) -> Any:
    """An argument as the script sees it: unpacked, and without the current time."""
    if isinstance(argument, bytes):
        return _unpacked(argument)
    if isinstance(argument, dict):
        return {key: seen(value) for key, value in cast("dict[str, Any]", argument).items()}
    if isinstance(argument, list):
        return [seen(each) for each in cast("list[Any]", argument)]
    if argument is None or isinstance(argument, bool | float):
        return argument
    text = str(argument)
    return _NOW if text.isdigit() and abs(int(text) - time.time() * 1000) < 60_000 else text


def _unpacked(argument: bytes) -> Any:
    try:
        value = unpack(argument)
    except (ValueError, msgpack.ExtraData):
        value = None
    return seen(value if isinstance(value, dict | list) else argument.decode())  # pyright: ignore[reportUnknownArgumentType] - any structure


def our_job(**fields: str) -> Job:
    stored = {"name": "order.placed", "data": '{"order_id":1}', "opts": "{}", "timestamp": "1", **fields}
    flat = [word.encode() for pair in stored.items() for word in pair]
    return decode(JOB_ID.encode(), flat, TOKEN)


def their_job(options: dict[str, Any]) -> Any:
    """The attributes of BullMQ's `Job` that its `Scripts` reads."""
    deduplication: dict[str, Any] = options.get("deduplication", {})
    return SimpleNamespace(
        id=JOB_ID,
        name="order.placed",
        data={"order_id": 1},
        opts=options,
        timestamp=round(time.time() * 1000),
        parent=None,
        parentKey=None,
        repeatJobKey=None,
        deduplication_id=deduplication.get("id"),
        attempts=3,
        attemptsMade=0,
        queue=SimpleNamespace(opts={"lockDuration": 30_000}),
    )


UNKNOWN = ScheduleState("nightly", None, False, False, False, 0, (b"", b""), 0)
Ours = Callable[[BullQueue, Schedulers], Awaitable[Any]]
Theirs = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Call:
    """One call by both. `ours_ends` and `theirs_ends` are the trailing arguments that differ, with the reason."""

    ours: Ours
    theirs: Theirs
    ours_ends: tuple[Any, ...] = ()
    theirs_ends: tuple[Any, ...] = ()
    reason: str = ""


def add(delay_ms: int = 0, priority: int = 0, once_ms: int = 0) -> Ours:
    job = NewJob(JOB_ID, "order.placed", b'{"order_id":1}', OPTIONS, delay_ms, priority, once_ms)
    return lambda queue, _: queue.add(job, deadline=time.monotonic() + 10)


def finish(target: str, value: bytes, fields: list[Any] | None = None) -> Ours:
    job = our_job()
    options = finish_options(job, keep={"count": 0}, attempts=3, lock_ms=30_000)
    return lambda queue, _: queue.finish(job, target, value, options, fetch_next=True, fields=fields)


def tick_options(next_ms: int, count: int) -> dict[str, Any]:
    """The options of a tick's job, as Node's JobScheduler writes them."""
    return {
        **OPTIONS,
        "jobId": f"repeat:nightly:{next_ms}",
        "delay": 0,
        "timestamp": round(time.time() * 1000),
        "prevMillis": next_ms,
        "repeatJobKey": "nightly",
        "repeat": {"every": 1000, "count": count},
    }


FAILURE = {"failedReason": "no money", "stacktrace": '["ValueError: no money"]'}
FLAT = [word for pair in FAILURE.items() for word in pair]
TICK_JOB = our_job(
    rjk="nightly",
    opts='{"attempts":3,"backoff":{"type":"exponential","delay":1000,"jitter":0.5},"repeat":{"every":1000,"count":4}}',
)
NO_TIMESTAMP = "BullMQ's Python appends the time, which no line of the script reads; Node's sends what we send"
NO_NEXT = "we ask for no next job: Node sends 0 and nil, Python '0'; the script compares with 1"
TOLD = "as Node's does: whether the event stream is told; the script takes a missing argument for yes"
PARENTS = "our frame is told whether the server is a cluster, and whether to leave the parent out; no fields are empty"
KEYED = "ours gives back the share of the job's key, here of none, and may let the key rest"
ONCE = {"deduplication": {"id": JOB_ID, "ttl": 60_000}}
STATES = ("wait", "active", "delayed", "prioritized", "paused", "completed", "failed")

CALLS: dict[str, Call] = {
    "addStandardJob": Call(
        add(),
        lambda theirs: theirs.addStandardJob(their_job(OPTIONS), round(time.time() * 1000)),
        theirs_ends=(_NOW,),
        reason=NO_TIMESTAMP,
    ),
    "addDelayedJob": Call(
        add(delay_ms=500),
        lambda theirs: theirs.addDelayedJob(their_job(OPTIONS | {"delay": 500}), 500),
        theirs_ends=("500",),
        reason=NO_TIMESTAMP,
    ),
    "addPrioritizedJob": Call(
        add(priority=3),
        lambda theirs: theirs.addPrioritizedJob(their_job(OPTIONS | {"priority": 3}), 3),
        theirs_ends=("3",),
        reason=NO_TIMESTAMP,
    ),
    "addStandardJob, once": Call(
        add(once_ms=60_000),
        lambda theirs: theirs.addStandardJob(their_job(OPTIONS | ONCE), round(time.time() * 1000)),
        theirs_ends=(_NOW,),
        reason=NO_TIMESTAMP,
    ),
    "addDelayedJob, once": Call(
        add(delay_ms=500, once_ms=60_000),
        lambda theirs: theirs.addDelayedJob(their_job(OPTIONS | ONCE | {"delay": 500}), 500),
        theirs_ends=("500",),
        reason=NO_TIMESTAMP,
    ),
    "addPrioritizedJob, once": Call(
        add(priority=3, once_ms=60_000),
        lambda theirs: theirs.addPrioritizedJob(their_job(OPTIONS | ONCE | {"priority": 3}), 3),
        theirs_ends=("3",),
        reason=NO_TIMESTAMP,
    ),
    "moveToActive": Call(
        lambda queue, _: queue.fetch(TOKEN, 30_000),
        lambda theirs: theirs.moveToActive(TOKEN, {"lockDuration": 30_000}),
    ),
    "moveToFinished, completed": Call(
        finish("completed", b'"receipt"'),
        lambda theirs: theirs.moveToCompleted(their_job({}), "receipt", {"count": 0}, TOKEN),
        ours_ends=("", "1", "", ""),
        reason=PARENTS,
    ),
    "moveToFinished, failed": Call(
        finish("failed", b"no money", FLAT),
        lambda theirs: theirs.moveToFinished(
            JOB_ID, *theirs.moveToFailedArgs(their_job({}), "no money", {"count": 0}, TOKEN, True, FAILURE)
        ),
        ours_ends=("1", "", ""),
        reason=PARENTS,
    ),
    "retryJob": Call(
        lambda queue, _: queue.retry_now(our_job(), FLAT),
        lambda theirs: theirs.retryJob(JOB_ID, False, TOKEN, {"fieldsToUpdate": FAILURE}),
        ours_ends=("",),
        reason=KEYED,
    ),
    "retryJob, last in first out": Call(
        lambda queue, _: queue.retry_now(our_job(opts='{"lifo":true}'), FLAT),
        lambda theirs: theirs.retryJob(JOB_ID, True, TOKEN, {"fieldsToUpdate": FAILURE}),
        ours_ends=("",),
        reason=KEYED,
    ),
    "reprocessJob": Call(
        lambda queue, _: reprocess(queue, JOB_ID),
        lambda theirs: theirs.reprocessJob(their_job({}), "failed", {"resetAttemptsMade": True}),
        ours_ends=(BASE,),
        reason="ours checks the queue's keys first",
    ),
    "moveToDelayed": Call(
        lambda queue, _: queue.delay(our_job(), 500, FLAT),
        lambda theirs: theirs.moveToDelayed(JOB_ID, round(time.time() * 1000), 500, TOKEN, {"fieldsToUpdate": FAILURE}),
        ours_ends=("", "", "", "0"),
        theirs_ends=("0",),
        reason=f"{NO_NEXT}; {KEYED}",
    ),
    "moveToDelayed, without an attempt": Call(
        lambda queue, _: queue.delay(our_job(), 500, [], skip_attempt=True),
        lambda theirs: theirs.moveToDelayed(JOB_ID, round(time.time() * 1000), 500, TOKEN, {"skipAttempt": True}),
        ours_ends=("", "", "", "0"),
        theirs_ends=("0",),
        reason=f"{NO_NEXT}; {KEYED}",
    ),
    "moveStalledJobsToWait": Call(
        lambda queue, _: queue.check_stalled(1, {}, 10_000, round(time.time() * 1000)),
        lambda theirs: theirs.moveStalledJobsToWait(1, 10_000),
        ours_ends=(_NOW,),
        reason="our frame takes the server's time, to do nothing if it runs late",
    ),
    "updateProgress": Call(
        lambda queue, _: queue.progress(our_job(), b'{"percent":50}'),
        lambda theirs: theirs.updateProgress(JOB_ID, {"percent": 50}),
        ours_ends=(TOKEN, "0"),
        reason="our frame takes token and fence, to write nothing for a job of another worker",
    ),
    "addJobScheduler": Call(
        lambda _, schedulers: schedulers.upsert(
            UNKNOWN,
            "order.placed",
            Repeat("0 2 * * *", "Europe/Paris"),
            b'{"order_id":1}',
            OPTIONS,
            TICK,
            "declared",
            deadline=0,
        ),
        lambda theirs: theirs.addJobScheduler(
            "nightly",
            TICK,
            '{"order_id":1}',
            OPTIONS,
            {"name": "order.placed", "pattern": "0 2 * * *", "tz": "Europe/Paris"},
            tick_options(TICK, 1) | {"repeat": {"pattern": "0 2 * * *", "tz": "Europe/Paris", "count": 1}},
        ),
        ours_ends=("", "", "declared", f"{BASE}schedules", f"{BASE}ticks"),
        reason="our frame takes the schedule as it was read, and the keys of what we keep of it",
    ),
    "updateJobScheduler": Call(
        lambda _, schedulers: schedulers.advance(TICK_JOB, TICK),
        lambda theirs: theirs.updateJobSchedulerNextMillis(
            "nightly", TICK, '{"order_id":1}', tick_options(TICK, 5), JOB_ID
        ),
        ours_ends=(f"{BASE}ticks",),
        reason="our frame takes the key of the last ticks",
    ),
    "removeJobScheduler": Call(
        lambda _, schedulers: schedulers.remove("nightly", deadline=0),
        lambda theirs: theirs.removeJobScheduler("nightly"),
        ours_ends=(f"{BASE}schedules", ""),
        reason="our frame takes the key of what we keep of a schedule, and whether only one in code is removed",
    ),
    "pause": Call(
        lambda queue, _: set_paused(queue, True),
        lambda theirs: theirs.pause(True),
        ours_ends=("1",),
        reason=TOLD,
    ),
    "pause, to resume": Call(
        lambda queue, _: set_paused(queue, False),
        lambda theirs: theirs.pause(False),
        ours_ends=("1",),
        reason=TOLD,
    ),
    "removeJob": Call(
        lambda queue, _: cancel_job(queue, JOB_ID, "why"),
        lambda theirs: theirs.remove(JOB_ID, False),
        ours_ends=("why", "1", "cancelled Cancelled " + f"{crc32(b'why'):x}", ""),
        reason="our frame takes the reason, whether the server is part of a cluster, the end of its answer, and "
        "whether one that runs is left",
    ),
    "removeJob, of some states": Call(
        lambda queue, _: remove_job(queue, JOB_ID, "failed"),
        lambda theirs: theirs.remove(JOB_ID, False),
        ours_ends=("1", "failed"),
        reason="our frame takes whether the server is part of a cluster, and the states",
    ),
    "getCounts": Call(
        lambda queue, _: queue.counts(),
        lambda theirs: theirs.getCounts(STATES),
    ),
}


async def record_ours(ours: Ours) -> Sent:
    client: Any = OurClient()
    keys = QueueKeys(PREFIX, QUEUE)
    await ours(BullQueue(client, keys), Schedulers(client, keys))
    (sent,) = client.sent
    return sent


@pytest.mark.parametrize("what", CALLS)
async def test_a_script_is_called_with_the_keys_and_arguments_that_bullmq_sends(what: str) -> None:
    call = CALLS[what]
    ours = await record_ours(call.ours)
    connection = TheirConnection()
    await call.theirs(bullmq("scripts").Scripts(PREFIX, QUEUE, connection))
    (theirs,) = connection.sent
    assert theirs.name == what.partition(",")[0]
    assert ours.name == theirs.name or scripts.OURS[ours.name] == theirs.name
    assert ours.keys == theirs.keys
    assert len(ours.keys) == scripts.BULLMQ[theirs.name]
    assert all(key.startswith(BASE) for key in ours.keys)
    ours_same, ours_ends = _split(ours.arguments, call.ours_ends)
    theirs_same, theirs_ends = _split(theirs.arguments, call.theirs_ends)
    assert [_unnamed(each) for each in ours_same] == theirs_same
    assert (ours_ends, theirs_ends) == (call.ours_ends, call.theirs_ends), call.reason


def _unnamed(argument: Any) -> Any:
    """An argument without the worker's name, which Node's worker sends and Python's does not."""
    if not isinstance(argument, dict) or "token" not in argument:
        return argument  # pyright: ignore[reportUnknownVariableType] - whatever it is
    return {key: value for key, value in cast("dict[str, Any]", argument).items() if key != "name"}


def _split(arguments: list[Any], ends: tuple[Any, ...]) -> tuple[list[Any], tuple[Any, ...]]:
    cut = len(arguments) - len(ends)
    return arguments[:cut], tuple(arguments[cut:])


def test_every_script_that_bullmq_can_call_is_compared() -> None:
    # BullMQ's Python never calls the first two, and the third with too many keys: tests below read their headers.
    others = {"addLog", "moveJobFromActiveToWait", "promote"}
    assert {what.partition(",")[0] for what in CALLS} == set(scripts.BULLMQ) - others


@pytest.mark.parametrize("name", ["addStandardJob", "addDelayedJob", "addPrioritizedJob"])
def test_no_script_that_adds_reads_the_timestamp_which_python_alone_appends(name: str) -> None:
    text = scripts.script(name).text.decode()
    assert {int(number) for number in re.findall(r"ARGV\[(\d+)\]", _code(text))} <= {1, 2, 3}


async def test_move_job_from_active_to_wait_is_called_as_its_header_says() -> None:
    header = scripts.script("moveJobFromActiveToWait").text.decode().partition("]]\nlocal")[0]
    words = dict(re.findall(r"((?:KEYS|ARGV)\[\d+\])\s+(.+)", header))
    sent = await record_ours(lambda queue, _: queue.requeue(JOB_ID, TOKEN))
    known = {
        "active key": f"{BASE}active",
        "wait key": f"{BASE}wait",
        "stalled key": f"{BASE}stalled",
        "paused key": f"{BASE}paused",
        "meta key": f"{BASE}meta",
        "limiter key": f"{BASE}limiter",
        "prioritized key": f"{BASE}prioritized",
        "marker key": f"{BASE}marker",
        "event key": f"{BASE}events",
        "job id": JOB_ID,
        "lock token": TOKEN,
        "job id key": BASE + JOB_ID,
    }
    assert sent.keys == [known[words[f"KEYS[{number}]"]] for number in range(1, 10)]
    # Ours ends with the job's key, and its runs.
    assert sent.arguments == [*(known[words[f"ARGV[{number}]"]] for number in range(1, 4)), "", ""]
    assert len(words) == len(known)


async def test_add_log_is_called_as_its_header_says() -> None:
    header = scripts.script("addLog").text.decode().partition("]]\nlocal")[0]
    words = dict(re.findall(r"((?:KEYS|ARGV)\[\d+\])\s+(.+)", header))
    sent = await record_ours(lambda queue, _: add_line(queue, our_job(), "asking the bank"))
    known = {
        "job id key": BASE + JOB_ID,
        "job logs key": f"{BASE}{JOB_ID}:logs",
        "id": JOB_ID,
        "log": "asking the bank",
        "keepLogs": "100",
    }
    assert sent.keys == [known[words[f"KEYS[{number}]"]] for number in range(1, 3)]
    # Our frame takes token and fence, to write nothing for a job of another worker.
    assert sent.arguments == [*(known[words[f"ARGV[{number}]"]] for number in range(1, 4)), TOKEN, "0"]
    assert len(words) == len(known)


async def test_promote_is_called_as_its_header_says() -> None:
    header = scripts.script("promote").text.decode().partition("]]\nlocal")[0]
    names = re.findall(r"KEYS\[\d+\] '?([\w ]+?)'?(?: priority counter)?\n", header)
    sent = await record_ours(lambda queue, _: promote(queue, JOB_ID.encode()))
    keys = {"event stream": "events"}
    assert sent.keys == [BASE + str(keys.get(name, name)) for name in names]
    assert sent.arguments == [BASE, JOB_ID]
    assert len(names) == scripts.BULLMQ["promote"]


@pytest.mark.parametrize(
    ("name", "framed"), [(name, each) for name, each in scripts.OURS.items() if each in scripts.BULLMQ]
)
def test_a_frame_holds_bullmqs_text_unchanged_and_once(name: str, framed: str) -> None:
    assert scripts.script(name).text.count(scripts.script(framed).text) == 1
    assert scripts.script(name).keys == scripts.BULLMQ[framed]


def test_every_lua_file_is_in_the_table_and_includes_what_it_needs() -> None:
    files = {path.stem for path in (Path(scripts.__file__).parent / "lua").glob("*.lua")}
    assert files == set(scripts.OURS)
    assert all(b"--- @" not in scripts.script(name).text for name in scripts.OURS)


def _code(text: str) -> str:
    """A script without its comments."""
    return re.sub(r"--[^\n]*", "", re.sub(r"--\[\[.*?\]\]", "", text, flags=re.DOTALL))

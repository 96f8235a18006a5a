"""Queues that are filled at once with many jobs, as BullMQ's scripts would leave them."""

from __future__ import annotations

from uuid import UUID

from oxherd.bullmq.queue import BullQueue

_STEP = 20_000
_JOBS = """
local base, first, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call("HSETNX", base .. "meta", "opts.maxLenEvents", 10000)
for n = first, first + count - 1 do
  local id = string.format("%s%012d", ARGV[4], n)
  redis.call("HSET", base .. id, "name", "order.placed", "data", "{}", "opts", '{"attempts":1}',
    "timestamp", 1700000000000 + n, "delay", 0, "priority", 0)
  if ARGV[5] == "" then redis.call("LPUSH", base .. "wait", id)
  else
    local ended = 1700000001000 + (ARGV[6] == "1" and 0 or math.floor(n / 7))
    redis.call("HSET", base .. id, "failedReason", ARGV[7] .. n, "finishedOn", ended, "atm", 1, "ats", 1)
    redis.call("ZADD", base .. "failed", ended, id)
  end
end
"""
_REASON = "no stock of "


def id_of(state: str, number: int) -> UUID:
    """The id of a job that was filled in."""
    return UUID(f"{_head(state)}{number:012d}")


async def fill_waiting(queue: BullQueue, count: int) -> None:
    """Put jobs into a queue that wait, the first one next."""
    await _fill(queue, count, "waiting", same_time=False)


async def fill_failed(queue: BullQueue, count: int, *, same_time: bool = False) -> None:
    """Put jobs into a queue that have failed with `no stock of <number>`, the first one first."""
    await _fill(queue, count, "failed", same_time=same_time)


async def _fill(queue: BullQueue, count: int, state: str, *, same_time: bool) -> None:
    k = queue.keys
    failed = "" if state == "waiting" else state
    for first in range(0, count, _STEP):
        arguments = (k.base, first, min(_STEP, count - first), _head(state), failed, "1" if same_time else "", _REASON)
        await queue.client.call(k.slot, "EVAL", _JOBS, 0, *arguments)


def _head(state: str) -> str:
    return "00000000-0000-7000-8000-" if state == "waiting" else "00000000-0000-7000-9000-"

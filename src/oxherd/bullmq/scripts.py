"""The Lua scripts of the PyPI package `bullmq`, and the few of our own.

BullMQ's Python classes are not used and not imported (docs/decisions/scripts-not-classes.md). A test compares names,
key counts and arguments with what the installed package's own `Scripts` class sends.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from oxherd.errors import ConfigError
from oxherd.redis.client import Script

# Name to number of keys, as the file names of bullmq 3.4 say.
NAMES = {
    "addStandardJob": 9,
    "addDelayedJob": 6,
    "addPrioritizedJob": 9,
    "moveToActive": 11,
    "moveToFinished": 14,
    "moveToDelayed": 11,
    "retryJob": 11,
    "moveJobFromActiveToWait": 9,
    "moveStalledJobsToWait": 9,
    "updateProgress": 3,
    "addJobScheduler": 11,
    "updateJobScheduler": 12,
    "removeJobScheduler": 3,
    "getJobScheduler": 1,
    "getCounts": 1,
}

# Renews locks as extendLocks does, and takes back those that ran out and that nobody else has taken: `ats` says
# whether the job was begun again since. One script for both, so that no check for stalled jobs fits in between.
# KEYS[1] stalled, KEYS[2] active; ARGV[1] key prefix, ARGV[2] lock in milliseconds, then id, token, fence of each job.
# Answers 1 for each job that is ours (again), 0 for each that is lost.
_RETAKE_LOCKS = b"""
local answers = {}
local active
for i = 3, #ARGV, 3 do
  local id, token, fence = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local lock = ARGV[1] .. id .. ":lock"
  local holder = redis.call("GET", lock)
  local ours = holder == token
  if not holder and redis.call("HGET", ARGV[1] .. id, "ats") == fence then
    if not active then
      active = {}
      for _, running in ipairs(redis.call("LRANGE", KEYS[2], 0, -1)) do active[running] = true end
    end
    ours = active[id] == true
  end
  if ours then
    -- First what a full server takes: it then takes the rest of the script as well.
    redis.call("SREM", KEYS[1], id)
    redis.call("SET", lock, token, "PX", ARGV[2])
  end
  answers[#answers + 1] = ours and 1 or 0
end
return answers
"""

# Sets a job aside that we hold, or that nobody does. KEYS[1] the active list; ARGV[1] key prefix, ARGV[2] now, then id,
# token, and what is wrong with it, "" to look whether anything is. Answers what is wrong, and whether it has a parent,
# which is not told; or 0.
_SET_ASIDE = b"""
local holder = redis.pcall("GET", ARGV[1] .. ARGV[3] .. ":lock")
if type(holder) == "string" and holder ~= ARGV[4] then return 0 end
local found = ARGV[5] ~= "" and ARGV[5] or damage(ARGV[1] .. ARGV[3])
if not found then return 0 end
return {found, quarantine(ARGV[1], ARGV[3], ARGV[2], "the job cannot be read: " .. found) and 1 or 0}
"""
# In front of the check for stalled jobs: where one of them is damaged, it would end in the middle, each time.
_SOUND_ONLY = b"""
local aside = {}
if redis.call("EXISTS", KEYS[4]) == 0 then
  local key = damagedKey(ARGV[2], {"wait", "meta", "marker", "events", "repeat"})
  if key then error("stalled jobs cannot be put back, since this key is damaged: " .. key, 0) end
  for _, id in ipairs(redis.call("SMEMBERS", KEYS[1])) do
    local jobKey = ARGV[2] .. id
    local found = redis.call("EXISTS", jobKey .. ":lock") == 0 and damage(jobKey)
    if found then
      quarantine(ARGV[2], id, ARGV[3], "the job cannot be read: " .. found)
      aside[#aside + 1] = id
    end
  end
end
"""
# Around the check: answers the ids of those that it put back, and of those that were set aside. A stall beyond the most
# that a job is allowed is taken back unless the job had just been begun alone, or three times beside others. From
# ARGV[6] on come the names of events that allow less than ARGV[1] says, and what they allow.
_CHECKING = (
    b"local function check()\n",
    b"""
end
local most = {}
for i = 6, #ARGV, 2 do most[ARGV[i]] = tonumber(ARGV[i + 1]) end
local stalled = check()
for _, id in ipairs(stalled) do
  local jobKey = ARGV[2] .. id
  local job = redis.call("HMGET", jobKey, "stc", "ats", "ox:begun", "name")
  local stalls = tonumber(job[1])
  if stalls > 1 and stalls > (most[job[4]] or tonumber(ARGV[1])) then
    local counts = job[3] == job[2] .. " alone"
    if job[3] == job[2] .. " beside" then counts = redis.call("HINCRBY", jobKey, "ox:beside", 1) > 2 end
    if not counts then
      redis.call("HINCRBY", jobKey, "stc", -1)
      redis.call("HINCRBY", jobKey, "ox:uncounted", 1)
      redis.call("HDEL", jobKey, "defa")
    end
  end
end
return {stalled, aside}
""",
)
# A check for stalled jobs that was sent before an outage and reaches the server after it would give away every job
# whose lock ran out meanwhile, before its worker can take it back. This prelude lets such a late check do nothing.
# ARGV[5] is the server's own time in milliseconds, asked for just before.
_FRESH_ONLY = b"""
do
  local now = redis.call("TIME")
  if now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[5]) > 1000 then return {{}, {}} end
end
"""

# In front of updateProgress: nothing is written for a job that was given to another worker, or is gone. The last two
# ARGV are the worker's token and the job's fence, which says whether it was begun again since its lock ran out.
_OWN_ONLY = b"""
do
  local holder = redis.call("GET", KEYS[1] .. ":lock")
  local fence = not holder and redis.call("HGET", KEYS[1], "ats")
  if holder ~= ARGV[#ARGV - 1] and fence ~= ARGV[#ARGV] then return -6 end
end
"""

# In front of moveToActive, for a queue that is kept in order: nothing begins beside an event that runs, or before the
# time of one that is to be tried again. The last ARGV is the key that says that time by running out.
_IN_ORDER = b"""
if redis.call("LLEN", KEYS[2]) > 0 then
  local upcoming = redis.call("ZRANGE", KEYS[7], 0, 0, "WITHSCORES")
  local due = upcoming[2] and tonumber(upcoming[2]) / 0x1000 or 0
  return {0, 0, 0, due > tonumber(ARGV[2]) and due or 0}
end
do
  local held = redis.call("PTTL", ARGV[#ARGV])
  if held > 0 then return {0, 0, held, 0} end
end
"""
# Around moveToActive. Where it is sent long before it runs, ARGV[2] is 0: the server's clock takes its place. And where
# BullMQ does not say when the next delayed job is due: while the queue is paused, or at its concurrency.
_FETCHING = (
    b"""
if ARGV[2] == "0" then
  local now = redis.call("TIME")
  ARGV[2] = string.format("%.0f", now[1] * 1000 + math.floor(now[2] / 1000))
end
local function fetch()
""",
    b"""
end
local answer = fetch()
if answer[1] == 0 and answer[4] == 0 then
  local upcoming = redis.call("ZRANGE", KEYS[7], 0, 0, "WITHSCORES")
  if upcoming[2] then answer[4] = tonumber(upcoming[2]) / 0x1000 end
end
return answer
""",
)
# Notes how a job is begun: ARGV[1] is the mark, "" to remove it.
_MARK_BEGIN = b"""
if ARGV[1] == "" then
  redis.call("HDEL", KEYS[1], "ox:begun")
else
  redis.call("HSET", KEYS[1], "ox:begun", ARGV[1])
end
return 0
"""
# Finds what calls in doubt have begun: active jobs that hold one of their tokens, or whose lock has run out and whose
# `pb` names the worker, which does not run them. KEYS[1] active; ARGV[1] key prefix, [2] the worker, [3] lock in
# milliseconds, [4] how many tokens, then these, then the ids of what it runs. Answers {id, token} each.
_UNCLAIMED = b"""
local doubted, runs, found = {}, {}, {}
local last = 4 + tonumber(ARGV[4])
for i = 5, last do doubted[ARGV[i]] = true end
for i = last + 1, #ARGV do runs[ARGV[i]] = true end
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
  local jobKey = ARGV[1] .. id
  local holder = not runs[id] and redis.pcall("GET", jobKey .. ":lock")
  if doubted[holder] then
    found[#found + 1] = {id, holder}
  elseif not runs[id] and not holder and redis.pcall("HGET", jobKey, "pb") == ARGV[2] then
    redis.call("SET", jobKey .. ":lock", ARGV[5], "PX", ARGV[3])
    found[#found + 1] = {id, ARGV[5]}
  end
end
return found
"""
# In front of BullMQ's scripts, and behind them: no damaged value makes one lose a job (guard.lua).
_ADDING = (b"return addWhole(ARGV[1], function()\n", b"\nend)\n")
GUARDS: dict[str, tuple[bytes, bytes]] = {
    "addStandardJob": _ADDING,
    "addDelayedJob": _ADDING,
    "addPrioritizedJob": _ADDING,
    # Of what is taken off `prioritized`, BullMQ finds only then whether `active` can have it.
    "moveToActive": (b'redis.call("LLEN", KEYS[2])\nsoundDue(ARGV[1], ARGV[2])\n', b""),
    "moveToFinished": (
        b"""
if ARGV[6] == "1" then soundDue(ARGV[7], ARGV[2]) end
local opts, clustered, forget = cmsgpack.unpack(ARGV[8]), ARGV[10] == "1", ARGV[11] == "1"
return finish(ARGV[7], ARGV[1], ARGV[2], KEYS[11], opts, clustered, forget, function()
""",
        b"\nend)\n",
    ),
    "retryJob": (
        b"soundDue(ARGV[1], ARGV[2])\nreturn keepActive(ARGV[1], ARGV[4], ARGV[5], function()\n",
        b"\nend)\n",
    ),
    "moveToDelayed": (b"return keepActive(ARGV[1], ARGV[3], ARGV[4], function()\n", b"\nend)\n"),
    "moveJobFromActiveToWait": (
        b"return keepActive(string.sub(ARGV[3], 1, -#ARGV[1] - 1), ARGV[1], ARGV[2], function()\n",
        b"\nend)\n",
    ),
}
# Around retryJob, for a queue that is kept in order: the event goes back to the head of the queue, and the last two
# ARGV hold the queue for the retry's delay. A cluster allows the key among the arguments: it is in the others' slot.
_HOLDING = (
    b"local function retry()\n",
    b"""
end
local answer = retry()
if answer == 0 and tonumber(ARGV[#ARGV]) > 0 then redis.call("SET", ARGV[#ARGV - 1], 1, "PX", ARGV[#ARGV]) end
return answer
""",
)


@cache
def script(name: str) -> Script:
    """A script of BullMQ by its name.

    Raises:
        ConfigError: the installed `bullmq` package has no such script with that number of keys.
    """
    keys = NAMES[name]
    path = folder() / f"{name}-{keys}.lua"
    if not path.is_file():
        raise ConfigError(f"The installed bullmq package has no script {path.name}; install bullmq 3.4.")
    return _script(name, path.read_bytes(), keys)


@cache
def guarded(name: str) -> Script:
    """A script of BullMQ that loses no job, whatever it finds."""
    found = script(name)
    before, behind = GUARDS[name]
    guards = _lua("guard") + (_lua("parents") if name == "moveToFinished" else b"")
    return _script(name, guards + before + found.text + behind, found.keys)


@cache
def retake_locks() -> Script:
    """Our own script that takes run-out locks back."""
    return _script("retakeLocks", _RETAKE_LOCKS, 2)


@cache
def fetch_next() -> Script:
    """BullMQ's moveToActive, which may wait in the server before it runs."""
    found = guarded("moveToActive")
    return _script("fetchNext", found.text.join(_FETCHING), found.keys)


@cache
def fetch_in_order() -> Script:
    """As `fetch_next`; begins nothing that would break the order."""
    found = guarded("moveToActive")
    return _script("fetchInOrder", _IN_ORDER + found.text.join(_FETCHING), found.keys)


@cache
def mark_begin() -> Script:
    """Our own script that notes how a job is begun."""
    return _script("markBegin", _OWN_ONLY + _MARK_BEGIN, 1)


@cache
def unclaimed() -> Script:
    """Our own script that finds what calls whose answers were lost have begun."""
    return _script("unclaimed", _UNCLAIMED, 1)


@cache
def own_progress() -> Script:
    """BullMQ's updateProgress, which writes nothing for a job that is another worker's."""
    found = script("updateProgress")
    return _script("ownProgress", _OWN_ONLY + found.text, found.keys)


@cache
def retry_in_order() -> Script:
    """BullMQ's retryJob, which holds the queue until the retry is due."""
    found = guarded("retryJob")
    return _script("retryInOrder", found.text.join(_HOLDING), found.keys)


@cache
def finish_many() -> Script:
    """Our own script that completes several jobs and begins as many next ones."""
    return _script("finishMany", _lua("guard") + _lua("finish_many"), 9)


@cache
def add_many() -> Script:
    """Our own script that adds several jobs."""
    return _script("addMany", _lua("add_many"), 7)


@cache
def fresh_stalled_check() -> Script:
    """BullMQ's moveStalledJobsToWait, which does nothing when it arrives late."""
    checked = script("moveStalledJobsToWait")
    text = _FRESH_ONLY + _lua("guard") + _lua("quarantine") + _SOUND_ONLY + checked.text.join(_CHECKING)
    return _script("freshStalledCheck", text, checked.keys)


@cache
def quarantine() -> Script:
    """Our own script that takes a damaged job off the queue."""
    return _script("quarantine", _lua("guard") + _lua("quarantine") + _SET_ASIDE, 1)


def _lua(name: str) -> bytes:
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_bytes()


def folder() -> Path:
    """Where the installed `bullmq` package keeps its scripts; the package itself is not imported."""
    spec = importlib.util.find_spec("bullmq")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("The package bullmq is not installed; install bullmq 3.4.")
    return Path(next(iter(spec.submodule_search_locations))) / "commands"


def _script(name: str, text: bytes, keys: int) -> Script:
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return Script(name=name, text=text, sha=digest.encode(), keys=keys)

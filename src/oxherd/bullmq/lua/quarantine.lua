-- Sends a damaged job to failed by BullMQ's moveToFinished, so that its parent is told and it is kept as any job that failed;
-- not if another worker has its lock. If its key holds no hash, only the id is taken off the queue.
--
-- KEYS and ARGV as in finish; but ARGV[4] is ours, and ARGV[11] says what is wrong with the job, "" to find out.
-- Returns what is wrong, and 1 if the job has a parent that cannot be told; or 0.
--- @include "includes/guard"
--- @include "includes/damage"
--- @include "includes/parents"
--- @include "includes/outbox"
--- @include "includes/answer"
--- @include "includes/cancel"
--- @include "includes/keyed"
--- @include "includes/room"
local id, base, opts, clustered, found = ARGV[1], ARGV[7], cmsgpack.unpack(ARGV[8]), ARGV[10] == "1", ARGV[11]
local message = ARGV[12]
local jobKey = base .. id
local lock = jobKey .. ":lock"
local holder = redis.pcall("GET", lock)
if type(holder) == "string" and holder ~= opts["token"] then return 0 end
if found == "" then found = damageOf(jobKey) end
-- Fails on a damaged outbox before the job is taken off its list.
if message ~= "" then redis.call("HEXISTS", base .. "outbox", "") end
if not found or redis.call("LREM", KEYS[2], 0, id) == 0 then return 0 end
if fails("HGET", jobKey, "atm") or redis.call("EXISTS", jobKey) == 0 then
  endWithMessage(base, message, function()
    redis.call("SREM", KEYS[5], id)
    redis.call("DEL", lock)
  end)
  wakeIfRoom(base)
  return {found, 0}
end
redis.call("LPUSH", KEYS[2], id)
redis.call("SET", lock, opts["token"], "PX", opts["lockDuration"])
if not isInteger(redis.call("HGET", jobKey, "atm")) then redis.call("HSET", jobKey, "atm", 0) end
local detach = not isParent(redis.call("HGET", jobKey, "parent")) or parentFault(jobKey, clustered)
local untold = detach and redis.call("HEXISTS", jobKey, "parentKey") == 1
ARGV[4] = "the job cannot be read: " .. found
local asked, key = isAsked(jobKey), redis.call("HGET", jobKey, "ox:key")
endWithMessage(base, message, function()
  return finish(base, id, ARGV[2], KEYS[11], opts, clustered, detach, function()
--- @bullmq
  end)
end)
settleAnswer(asked, base, id, "failed", ARGV[4], "")
forgetRequest(base, id)
release(base, id, key, "0")
wakeIfRoom(base)
return {found, untold and 1 or 0}

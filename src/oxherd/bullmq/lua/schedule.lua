-- BullMQ's addJobScheduler, for the very tick that its caller has worked out, if the schedule is still as that has read it: what
-- others do meanwhile must not bring back a tick that has begun.
--
-- ARGV[1] the tick, [3] the schedule, [8] prefix; then of ours [10] its time and [11] its last tick, as they were read,
-- [12] "declared", "undeclared" or "resumed", [13] key of the flags, [14] key of the last ticks
-- Returns as BullMQ, or -20: it has changed; -21: a job of that tick is stored, and cannot be replaced.
--- @include "includes/halt"
local id, base, flags = ARGV[3], ARGV[8], ARGV[13]
local due, last = redis.call("ZSCORE", KEYS[1], id) or "", redis.call("ZSCORE", ARGV[14], id) or ""
if due ~= ARGV[10] or last ~= ARGV[11] then return -20 end
local tick = "repeat:" .. id .. ":" .. ARGV[1]
if redis.call("EXISTS", base .. tick) == 1 then
  local waits = redis.call("ZSCORE", KEYS[2], tick) or redis.call("ZSCORE", KEYS[6], tick)
    or redis.call("LPOS", KEYS[3], tick) or redis.call("LPOS", KEYS[4], tick)
  if due ~= ARGV[1] or not waits then return -21 end
end
-- BullMQ works out the tick of an interval itself, from the one before, unless the interval is new.
local record = KEYS[1] .. ":" .. id
local every = redis.call("HGET", record, "every")
redis.call("HDEL", record, "every")
local added, answer = pcall(function()
--- @bullmq
end)
if not added then
  if every then redis.pcall("HSET", record, "every", every) end
  error(answer, 0)
end
if type(answer) ~= "table" then return answer end
if ARGV[12] == "declared" then redis.call("HSET", flags, "declared:" .. id, 1) end
if ARGV[12] == "undeclared" then redis.call("HDEL", flags, "declared:" .. id) end
if ARGV[12] == "resumed" then redis.call("HDEL", flags, "paused:" .. id) end
if redis.call("HEXISTS", flags, "paused:" .. id) == 1 then halt(KEYS[1], KEYS[2], KEYS[9], base, id) end
return answer

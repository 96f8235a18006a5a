-- Removes a job by BullMQ's removeJob if it is in one of some states; nothing becomes of it, and nobody is told how it ended.
--
-- KEYS: the job, repeat
-- ARGV[1] id, [2] "0": children stay, [3] key prefix, [4] "1" on a cluster, then the states: keys of the queue
-- Returns 1 if it is removed, 0 if it is in none of these states, or another worker has its lock, -8 if it is a schedule's
-- next tick.
--- @include "includes/guard"
--- @include "includes/parents"
--- @include "includes/unique"
--- @include "includes/keyed"
local id, base, clustered = ARGV[1], ARGV[3], ARGV[4] == "1"
local jobKey = base .. id
local list, held
for i = 5, #ARGV do
  local key = base .. ARGV[i]
  if ARGV[i] ~= "wait" and ARGV[i] ~= "paused" then held = held or redis.call("ZSCORE", key, id)
  -- Those that are moved are near the tail.
  elseif redis.call("LPOS", key, id, "RANK", -1) then list, held = key, true end
end
if not held then return 0 end
local noted = redis.call("HMGET", jobKey, "deid", "ox:key")
local deduplicated = noted[1]
-- What removeJob writes after it has taken the job off its list.
local damaged = damagedKey(base, {"events", "marker"})
  or (not isInteger(redis.call("HGET", base .. "meta", "opts.maxLenEvents")) and base .. "meta")
  or (deduplicated and fails("GET", base .. "de:" .. deduplicated) and base .. "de:" .. deduplicated)
if damaged then error("the job cannot be removed, since this key is damaged: " .. damaged, 0) end
local scheduler = redis.call("HGET", jobKey, "rjk")
if scheduler and id == "repeat:" .. scheduler .. ":" .. (redis.call("ZSCORE", KEYS[2], scheduler) or "") then return -8 end
if redis.call("EXISTS", jobKey .. ":lock") == 1 then return 0 end
-- A parent that cannot be told goes without it.
if parentFault(jobKey, clustered) then detachParent(jobKey) end
-- `once` holds on.
if deduplicated == id then redis.call("HDEL", jobKey, "deid") end
-- removeJob looks for it from the head.
if list then
  redis.call("LREM", list, -1, id)
  redis.call("LPUSH", list, id)
end
local follower = followerOf(base, id, deduplicated)
local removed = (function()
--- @bullmq
end)()
if removed == 1 and follower then beginFollower(base, follower, deduplicated) end
if removed == 1 then release(base, id, noted[2], "0") end
return removed

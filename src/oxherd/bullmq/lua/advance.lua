-- BullMQ's updateJobScheduler, which leaves nothing behind if it fails halfway: the schedule would count as advanced, without
-- its next tick.
--- @include "includes/guard"
local due = redis.call("ZSCORE", KEYS[1], ARGV[2])
local advanced, answer = pcall(function()
--- @bullmq
end)
if advanced then return answer end
local upcoming = redis.pcall("ZSCORE", KEYS[1], ARGV[2])
if type(due) == "string" and type(upcoming) == "string" and upcoming ~= due then
  local id = "repeat:" .. ARGV[2] .. ":" .. upcoming
  removeFromLists(ARGV[6], id)
  redis.pcall("DEL", ARGV[6] .. id)
  redis.pcall("ZADD", KEYS[1], due, ARGV[2])
end
error(answer, 0)

-- BullMQ's updateJobScheduler, which leaves nothing behind if it fails halfway: the schedule would count as advanced, without
-- its next tick. Ours is the note of the tick that has begun, in the sorted set ARGV[8], which keeps the latest 10,000.
--- @include "includes/guard"
local began = string.sub(ARGV[7], 1, #ARGV[2] + 8) == "repeat:" .. ARGV[2] .. ":" and string.match(ARGV[7], ":(%d+)$")
if began and #began <= 15 then
  redis.pcall("ZADD", ARGV[8], "GT", began, ARGV[2])
  redis.pcall("ZREMRANGEBYRANK", ARGV[8], 0, -10001)
end
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

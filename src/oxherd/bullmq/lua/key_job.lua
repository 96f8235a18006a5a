-- Notes the hash of a job's key, ARGV[5], and puts the job back at the head of the queue, as requeue does: nobody has known
-- its key before it was fetched.
local function requeue()
--- @include "requeue"
end
local reply = requeue()
if reply < 0 then return reply end
local job = redis.call("HMGET", ARGV[3], "priority", "ox:turn")
redis.call("HSET", ARGV[3], "ox:key", ARGV[5])
if not job[2] then
  -- It has not begun: it goes behind those of its key.
  local turn = (tonumber(job[1]) or 0) * 0x100000000 + redis.call("HINCRBY", KEYS[5], "ox:turns", 1) % 0x100000000
  redis.call("HSET", ARGV[3], "ox:turn", string.format("%.0f", turn))
end
-- BullMQ sets no marker for a prioritized job here: idle workers would sleep on.
redis.call("ZADD", KEYS[8], 0, "0")
return 0

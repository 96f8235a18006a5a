-- requeue for an ordered queue: the job goes back to the head, and the last two ARGV, a key and milliseconds, hold the
-- queue for that time. The key may be an argument on a cluster, since it is in the same slot as the others.
local function requeue()
--- @include "requeue"
end
local reply = requeue()
if reply < 0 then return reply end
if tonumber(ARGV[#ARGV]) > 0 then redis.call("SET", ARGV[#ARGV - 1], 1, "PX", ARGV[#ARGV]) end
-- BullMQ sets no marker for a prioritized job here: idle workers would sleep on.
redis.call("ZADD", KEYS[8], 0, "0")
return 0

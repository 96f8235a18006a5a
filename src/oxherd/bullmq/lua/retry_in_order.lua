-- retry for an ordered queue: the job goes back to the head, and the last two ARGV, a key and milliseconds, hold the queue
-- for it until the retry is due. The key may be an argument on a cluster, since it is in the same slot as the others.
local function retry()
--- @include "retry"
end
local reply = retry()
if reply == 0 and tonumber(ARGV[#ARGV]) > 0 then redis.call("SET", ARGV[#ARGV - 1], ARGV[4], "PX", ARGV[#ARGV]) end
return reply

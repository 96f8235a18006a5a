-- requeue where a limit elsewhere is reached: the job goes back to the head, and the queue begins nothing for the
-- milliseconds that the last ARGV says.
--- @include "includes/rest"
local function requeue()
--- @include "requeue"
end
local reply = requeue()
if reply < 0 then return reply end
rest(string.sub(ARGV[3], 1, -#ARGV[1] - 1), tonumber(ARGV[#ARGV]))
-- Somebody has to see the rest, so as to begin at its end; BullMQ sets no marker for a prioritized job here.
redis.call("ZADD", KEYS[8], 0, "0")
return 0

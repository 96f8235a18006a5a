-- Pauses a schedule: its record stays, and its next tick goes, unless that is due already.
--
-- KEYS: repeat, delayed, events, the flags
-- ARGV[1] schedule, [2] prefix
-- Returns whether there is such a schedule.
--- @include "includes/halt"
if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then return 0 end
redis.call("HSET", KEYS[4], "paused:" .. ARGV[1], 1)
halt(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[1])
return 1

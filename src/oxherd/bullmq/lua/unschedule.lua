-- BullMQ's removeJobScheduler, and what we keep of the schedule beside its record; its last tick stays known.
--
-- ARGV[3] key of the flags, [4] "1": only if it stands in code
if ARGV[4] == "1" and redis.call("HEXISTS", ARGV[3], "declared:" .. ARGV[1]) == 0 then return 1 end
redis.call("HDEL", ARGV[3], "declared:" .. ARGV[1], "paused:" .. ARGV[1])
--- @bullmq

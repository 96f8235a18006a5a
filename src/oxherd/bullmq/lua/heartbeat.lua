-- Notes that a worker is alive, and drops those that have been silent for too long, or that are too many: the oldest go.
--
-- KEYS: workers, the worker's record, meta, declared
-- ARGV[1] worker, [2] its record, [3] silence in milliseconds, [4] how many workers are kept at most
-- Returns whether the queue is paused, and whether it has schedules in code, each as 1 or 0.
local now = redis.call("TIME")
now = now[1] * 1000 + math.floor(now[2] / 1000)
local silence = tonumber(ARGV[3])
-- A full server accepts a removal, and then the rest of the script.
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", string.format("(%.0f", now - silence))
-- Of a server whose clock was ahead, before a failover; or of nobody's.
redis.call("ZREMRANGEBYSCORE", KEYS[1], string.format("(%.0f", now + silence), "+inf")
redis.call("ZREMRANGEBYRANK", KEYS[1], 0, -tonumber(ARGV[4]))
redis.call("ZADD", KEYS[1], string.format("%.0f", now), ARGV[1])
redis.call("PEXPIRE", KEYS[1], ARGV[3])
redis.call("SET", KEYS[2], ARGV[2], "PX", ARGV[3])
return {type(redis.pcall("HGET", KEYS[3], "paused")) == "string" and 1 or 0, redis.call("EXISTS", KEYS[4])}

-- Wakes an idle worker where a job that ended has made room under a global concurrency: BullMQ leaves that to the worker of
-- that job, which may be stopping.
local function wakeIfRoom(base)
  if redis.pcall("HEXISTS", base .. "meta", "concurrency") ~= 1 then return end
  if redis.pcall("LLEN", base .. "wait") == 0 and redis.pcall("ZCARD", base .. "prioritized") == 0 then return end
  redis.pcall("ZADD", base .. "marker", 0, "0")
end

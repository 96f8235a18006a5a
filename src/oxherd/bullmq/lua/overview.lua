-- Reads how many jobs a queue has in each state, in constant time.
--
-- KEYS: meta
-- ARGV[1] key prefix, [3] an event
-- Returns the server's time, "1" if the queue is paused, the counts of wait, paused, prioritized, active, delayed,
-- waiting-children, completed and failed; then the emit and options of the next job to begin, the score of the first delayed
-- one, when the last failed one has failed, the number of schedules, and of the workers heard from since ARGV[2] milliseconds;
-- the fields `max`, `duration` and `concurrency` of meta, the event's limits for each key, and for how many milliseconds nothing begins for a rate or a rest.
local base = ARGV[1]
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- A damaged key holds none.
local function count(command, key, ...)
  local reply = redis.pcall(command, base .. key, ...)
  return type(reply) == "number" and reply or 0
end
local function first(key, command)
  local reply = redis.pcall(command, base .. key, 0, 0, "WITHSCORES")
  return reply[2] or ""
end
local oldest = redis.pcall("LINDEX", base .. "wait", -1)
if type(oldest) ~= "string" then oldest = redis.pcall("LINDEX", base .. "paused", -1) end
local job = type(oldest) == "string" and redis.pcall("HMGET", base .. oldest, "timestamp", "opts") or {}
local paused = redis.pcall("HEXISTS", KEYS[1], "paused") == 1
local limits = redis.pcall("HMGET", KEYS[1], "max", "duration", "concurrency", "ox:per_key:" .. ARGV[3])
local function left(key)
  local ms = redis.pcall("PTTL", base .. key)
  return type(ms) == "number" and math.max(ms, 0) or 0
end
local resting, used = left("rest"), tonumber(redis.pcall("GET", base .. "limiter"))
local most = tonumber(limits[1])
if most and used and used >= most then resting = math.max(resting, left("limiter")) end
local upcoming = first("delayed", "ZRANGE")
-- One that its key holds back is due at no time.
if upcoming ~= "" and upcoming % 0x1000 == 0xFFF then upcoming = "" end
return {
  string.format("%.0f", now), paused and "1" or "",
  count("LLEN", "wait"), count("LLEN", "paused"), count("ZCARD", "prioritized"), count("LLEN", "active"),
  count("ZCARD", "delayed"), count("ZCARD", "waiting-children"), count("ZCARD", "completed"), count("ZCARD", "failed"),
  job[1] or "", string.sub(job[2] or "", 1, 65536), upcoming, first("failed", "ZREVRANGE"),
  count("ZCARD", "repeat"), count("ZCOUNT", "worker:seen", string.format("%.0f", now - ARGV[2]), "+inf"),
  limits[1] or "", limits[2] or "", limits[3] or "", limits[4] or "", resting,
}

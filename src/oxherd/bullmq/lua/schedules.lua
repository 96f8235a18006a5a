-- Reads schedules: those that are named, those that stand in code, or a page of all.
--
-- KEYS: repeat, the flags, the last ticks
-- ARGV[1] prefix, [2] first and [3] last rank of a page, or "declared"; or [4] and on: ids
-- Returns the server's time in milliseconds, and of each {id, record, time, whether that tick's job is stored, whether it is
-- paused, whether it stands in code, last tick}; the time is empty where there is no such schedule.
local ids = {}
for i = 4, #ARGV do ids[#ids + 1] = ARGV[i] end
if ARGV[2] == "declared" then
  local flags = redis.call("HGETALL", KEYS[2])
  for i = 1, #flags, 2 do ids[#ids + 1] = string.match(flags[i], "^declared:(.*)$") end
elseif #ARGV == 3 then ids = redis.call("ZRANGE", KEYS[1], ARGV[2], ARGV[3])
end
local clock = redis.call("TIME")
local found = {string.format("%.0f", clock[1] * 1000 + math.floor(clock[2] / 1000))}
for _, id in ipairs(ids) do
  local due = redis.call("ZSCORE", KEYS[1], id) or ""
  found[#found + 1] = {
    id, redis.call("HGETALL", KEYS[1] .. ":" .. id), due,
    redis.call("EXISTS", ARGV[1] .. "repeat:" .. id .. ":" .. due),
    redis.call("HEXISTS", KEYS[2], "paused:" .. id), redis.call("HEXISTS", KEYS[2], "declared:" .. id),
    redis.call("ZSCORE", KEYS[3], id) or "",
  }
end
return found

-- Reads the records of the workers that are alive: all of them, the latest heard from first, or those that are named.
--
-- KEYS: workers
-- ARGV[1] prefix of a record's key, [2] silence in milliseconds, [3] how many at most, [4] bytes of a record at most,
-- [5] bytes of all at most, then the ids of workers
-- Returns {id, last heartbeat, record} of each. Any program may have written the keys: what is too large is left out.
local now = redis.call("TIME")
now = now[1] * 1000 + math.floor(now[2] / 1000)
local silence, most, left = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local members = {}
for i = 6, #ARGV do
  local seen = tonumber(redis.pcall("ZSCORE", KEYS[1], ARGV[i]))
  if seen and math.abs(now - seen) <= silence then
    members[#members + 1] = ARGV[i]
    members[#members + 1] = string.format("%.0f", seen)
  end
end
if #ARGV == 5 then
  local oldest, latest = string.format("%.0f", now - silence), string.format("%.0f", now + silence)
  members = redis.pcall("ZREVRANGEBYSCORE", KEYS[1], latest, oldest, "WITHSCORES", "LIMIT", 0, ARGV[3])
end
local found = {}
for i = 1, #members, 2 do
  local record = #members[i] <= most and redis.pcall("GET", ARGV[1] .. members[i])
  if type(record) == "string" and #record <= most then
    left = left - #record
    if left < 0 then break end
    found[#found + 1] = {members[i], members[i + 1], record}
  end
end
return found

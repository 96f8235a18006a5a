-- Reads an event's history, in time that is bounded by what is kept.
--
-- KEYS: prefix of the history's keys
-- ARGV[1] event, [2] "m" for minutes or "h" for hours, [3] how long one is in milliseconds, [4] how many are kept, [5] since
-- when, or 0, [6] of how many last milliseconds, or 0
-- Returns the server's time, the number of the first minute or hour, and {number of the first of ten, packed rows, ...}.
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local step = tonumber(ARGV[3])
local last = math.floor(now / step)
local since = tonumber(ARGV[5])
if ARGV[6] ~= "0" then since = now - ARGV[6] end
local first = math.min(last, math.max(last - ARGV[4] + 1, math.floor(since / step)))
local found = {}
for block = math.floor(first / 60), math.floor(last / 60) do
  -- A damaged key holds none.
  local stored = redis.pcall("HMGET", string.format("%s%s:%s:%.0f", KEYS[1], ARGV[2], ARGV[1], block), 0, 1, 2, 3, 4, 5)
  for i = 1, 6 do
    local ten = block * 60 + (i - 1) * 10
    if stored[i] and ten + 9 >= first and ten <= last then
      found[#found + 1] = string.format("%.0f", ten)
      found[#found + 1] = stored[i]
    end
  end
end
return {string.format("%.0f", now), string.format("%.0f", first), found}

-- Adds what a worker has counted to the history of events, in the minutes and hours of the server's clock.
--
-- KEYS: the mark of the worker's last batch
-- ARGV[1] prefix of the history's keys, [2] the batch, [3] milliseconds to remember it for, [4] the packed rows: {age in
-- milliseconds, event, {number of a figure, value, ...}}
-- Returns 1; 0 if the batch was added before, and its reply lost.
if redis.call("GET", KEYS[1]) == ARGV[2] then return 0 end
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function stored(key, field)
  local sums, packed = {}, redis.pcall("HGET", key, field)
  if type(packed) == "table" then redis.call("DEL", key) end
  if type(packed) ~= "string" then return sums end
  local ok, found = pcall(cmsgpack.unpack, packed)
  -- Damaged figures begin anew.
  if not ok or type(found) ~= "table" then return sums end
  for i = 1, #found - 1, 2 do
    if type(found[i]) == "number" and type(found[i + 1]) == "number" then sums[found[i]] = found[i + 1] end
  end
  return sums
end

local function add(letter, event, at, step, fields, figures, keep)
  local number = math.floor(at / step)
  local key = string.format("%s%s:%s:%.0f", ARGV[1], letter, event, math.floor(number / fields))
  local field = string.format("%.0f", number % fields)
  local sums, pairs_ = stored(key, field), {}
  for i = 1, #figures, 2 do sums[figures[i]] = (sums[figures[i]] or 0) + figures[i + 1] end
  for figure, sum in pairs(sums) do
    pairs_[#pairs_ + 1] = figure
    pairs_[#pairs_ + 1] = sum
  end
  redis.call("HSET", key, field, cmsgpack.pack(pairs_))
  redis.call("PEXPIRE", key, string.format("%.0f", keep))
end

for _, row in ipairs(cmsgpack.unpack(ARGV[4])) do
  local at = now - row[1]
  add("m", row[2], at, 60000, 60, row[3], 90000000)
  add("h", row[2], at, 3600000, 24, row[3], 2764800000)
end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1

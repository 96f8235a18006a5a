-- Adds what a worker has counted to the history of events, in the minutes and hours of the server's clock.
--
-- KEYS: the mark of the worker's last batch
-- ARGV[1] prefix of the history's keys, [2] the batch, [3] milliseconds to remember it for, [4] the packed rows: {age in
-- milliseconds, event, {number of a figure, value, ...}}
-- Returns 1; 0 if the batch was added before, and its reply lost.
if redis.call("GET", KEYS[1]) == ARGV[2] then return 0 end
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- What is stored of ten minutes or hours: {offset, {number of a figure, value, ...}, ...}.
local function stored(key, field)
  local packed = redis.pcall("HGET", key, field)
  if type(packed) == "table" then redis.call("DEL", key) end
  if type(packed) ~= "string" then return {} end
  local ok, found = pcall(cmsgpack.unpack, packed)
  local rows = {}
  -- Damaged figures begin anew.
  for i = 1, ok and type(found) == "table" and #found <= 20 and #found - 1 or 0, 2 do
    rows[i], rows[i + 1] = found[i], found[i + 1]
  end
  return rows
end

local function added(pairs_, more)
  local sums, flat = {}, {}
  for _, each in ipairs({type(pairs_) == "table" and pairs_ or {}, more}) do
    for i = 1, #each - 1, 2 do
      local figure, value = each[i], each[i + 1]
      if type(figure) == "number" and type(value) == "number" and value >= 0 then sums[figure] = (sums[figure] or 0) + value end
    end
  end
  for figure, sum in pairs(sums) do
    flat[#flat + 1] = figure
    flat[#flat + 1] = sum
  end
  return flat
end

local function add(letter, event, at, step, figures, keep)
  local number = math.floor(at / step)
  local key = string.format("%s%s:%s:%.0f", ARGV[1], letter, event, math.floor(number / 60))
  local field, offset = string.format("%.0f", math.floor(number % 60 / 10)), number % 10
  local rows = stored(key, field)
  local place = #rows + 1
  for i = 1, #rows, 2 do
    if rows[i] == offset then place = i end
  end
  rows[place], rows[place + 1] = offset, added(rows[place + 1], figures)
  redis.call("HSET", key, field, cmsgpack.pack(rows))
  redis.call("PEXPIRE", key, string.format("%.0f", keep))
end

for _, row in ipairs(cmsgpack.unpack(ARGV[4])) do
  local at = now - row[1]
  if row[1] < 86400000 then add("m", row[2], at, 60000, row[3], 90000000) end
  add("h", row[2], at, 3600000, row[3], 2894400000)
end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1

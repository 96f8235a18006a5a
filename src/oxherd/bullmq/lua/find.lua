-- Finds jobs of one list or sorted set of a queue, a page at a time; changes nothing.
--
-- KEYS: the list or set
-- ARGV[1] key prefix, [2] order: "head" or "tail" of a list first, "low" or "high" scores of a set first,
-- [3] id and [4] position (index, or score) after which it goes on; both empty: from the first,
-- [5] how many to look at, [6] how many to find, [7] the job's name, [8] a text in small letters that the error holds,
-- [9] its type, [10] least and [11] greatest time in milliseconds: the score of a set of ended jobs, else the emit;
-- each empty for any, [12] "1" if the set is of ended jobs, [13] a text that the job's options hold, or empty
-- Returns {"1" at the end, how many were looked at, the server's time, then of the last job looked at, and of the last one
-- that was not found, id and position (or empty)}, then of each that was found its id, position and fields.
local key, base, order, anchor, at = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local look, most, name, text, kind = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9]
local least, greatest, ended, option = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12] == "1", ARGV[13]
local high, isList = order == "high", order == "head" or order == "tail"

-- By bytes, as Redis orders members; Lua compares by the server's locale.
local function isBefore(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then return a < b end
  end
  return #one < #other
end

local function range(first, last)
  if order == "head" then return redis.call("LRANGE", key, first, last) end
  if order == "tail" then return redis.call("LRANGE", key, -1 - last, -1 - first) end
  return redis.call(high and "ZREVRANGE" or "ZRANGE", key, first, last, "WITHSCORES")
end

-- Where a list goes on: its items move while they are begun and added. At the first one if the anchor is gone.
local function listStart()
  if anchor == "" then return 0 end
  local index = tonumber(at)
  local there = redis.call("LINDEX", key, order == "head" and index or -1 - index)
  if there == anchor then return index + 1 end
  local found
  if order == "head" then found = redis.call("LPOS", key, anchor)
  else
    -- From the tail, an item only comes nearer.
    found = redis.call("LPOS", key, anchor, "RANK", -1, "MAXLEN", index + 1)
    if found then found = redis.call("LLEN", key) - 1 - found end
  end
  return found and found + 1 or 0
end

-- Where a set goes on, whether or not the anchor is still in it.
local function setStart()
  if anchor == "" then
    if not ended then return 0 end
    if high then return greatest and redis.call("ZCOUNT", key, "(" .. ARGV[11], "+inf") or 0 end
    return least and redis.call("ZCOUNT", key, "-inf", "(" .. ARGV[10]) or 0
  end
  local first = high and redis.call("ZCOUNT", key, "(" .. at, "+inf") or redis.call("ZCOUNT", key, "-inf", "(" .. at)
  local after = first + redis.call("ZCOUNT", key, at, at)
  while first < after do
    local middle = math.floor((first + after) / 2)
    local there = range(middle, middle)[1]
    if there == anchor or isBefore(high and anchor or there, high and there or anchor) then first = middle + 1 else after = middle end
  end
  return first
end

local function isWithin(moment)
  return (not least or moment >= least) and (not greatest or moment <= greatest)
end

local FIELDS = {"name", "timestamp", "atm", "ats", "failedReason", "ox:end", "processedOn", "finishedOn", "opts", "defa", "ox:key"}

local pcall = redis.pcall
local hasWords = name ~= "" or text ~= "" or kind ~= "" or option ~= ""
-- To read one field takes half as long as to read five, and a long list is read to its end.
local onlyTimes = not hasWords and not ended and (least or greatest)
local filtered = hasWords or onlyTimes

-- Whether the job is one that is looked for; of most jobs of a long list, only these fields are read.
local function matches(id, score)
  if ended and not isWithin(score) then return false end
  if not filtered then return true end
  if onlyTimes then
    local emitted = pcall("HGET", base .. id, "timestamp")
    return isWithin(type(emitted) == "string" and tonumber(emitted) or 0)
  end
  local job = pcall("HMGET", base .. id, "name", "timestamp", "ox:end", "failedReason", option ~= "" and "opts" or "name")
  if job.err or (name ~= "" and job[1] ~= name) then return false end
  if not ended and not isWithin(tonumber(job[2]) or 0) then return false end
  if option ~= "" and not string.find(job[5] or "", option, 1, true) then return false end
  if text == "" and kind == "" then return true end
  local class = string.match(job[3] or "", "^%S+ (%S*) %x+$") or ""
  if kind ~= "" and class ~= kind then return false end
  if text == "" then return true end
  local reason = string.sub(job[4] or "", 1, 8256)
  return job[4] and string.find(string.lower((class == "" and "" or class .. ": ") .. reason), text, 1, true) ~= nil
end

local clock = redis.call("TIME")
local start = isList and listStart() or setStart()
local items = range(start, start + look - 1)
local step = isList and 1 or 2
local turned = order == "tail"
local found, looked, last, kept, beyond = {}, 0, 0, 0, false
-- Where an item stands in the reply: an index of `items`; 0 for none.
local function positionOf(item)
  if item == 0 then return "" end
  return isList and string.format("%.0f", start + (turned and #items - item or item - 1)) or items[item + 1]
end

for n = 1, #items, step do
  local item = turned and #items + 1 - n or n
  local id, score = items[item], ended and tonumber(items[item + 1])
  if ended and ((high and least and score < least) or (not high and greatest and score > greatest)) then
    beyond = true
    break
  end
  looked, last = looked + 1, item
  if matches(id, score) then
    local job = redis.pcall("HMGET", base .. id, unpack(FIELDS))
    if job.err then job = {} end
    local row = {id, positionOf(item)}
    for field = 1, #FIELDS - 1 do row[#row + 1] = string.sub(job[field] or "", 1, 8256) end
    -- One that its key holds back waits, though it is among the delayed.
    local held = job[#FIELDS] and redis.pcall("ZSCORE", base .. "key:" .. job[#FIELDS] .. ":held", id)
    if type(held) == "string" then held = redis.pcall("ZSCORE", base .. "delayed", id) end
    row[#row + 1] = type(held) == "string" and tonumber(held) % 0x1000 == 0xFFF and "1" or ""
    found[#found + 1] = row
    if #found >= most then break end
  else
    kept = item
  end
end
local atEnd = beyond or (looked * step == #items and looked < look)
return {
  atEnd and "1" or "", looked, string.format("%.0f", clock[1] * 1000 + math.floor(clock[2] / 1000)),
  items[last] or "", positionOf(last), items[kept] or "", positionOf(kept), unpack(found),
}

-- The key of which most waits, among those that have limits for each key (`keyed.lua`), from a sample; changes nothing.
--
-- KEYS: wait, delayed, prioritized, keys:paused
-- ARGV[1] key prefix, [2] how many jobs to look at in each of `wait` and `delayed`
-- Returns how many wait or are delayed, or nothing; then of the key how many of these are its by the sample, how many it
-- holds back, "1" if it is paused, and the id of one.
local base, most = ARGV[1], tonumber(ARGV[2])
local waiting, delayed = redis.call("LLEN", KEYS[1]), redis.call("ZCARD", KEYS[2])
local counts, examples = {}, {}

-- Each job of the sample stands for `weight` jobs.
local function count(id, weight)
  local hash = redis.pcall("HGET", base .. id, "ox:key")
  if type(hash) ~= "string" then return end
  counts[hash] = (counts[hash] or 0) + weight
  examples[hash] = examples[hash] or id
end

local head = redis.call("LRANGE", KEYS[1], -most, -1)
for _, id in ipairs(head) do count(id, waiting / #head) end
local looked = math.min(most, delayed)
for i = 0, looked - 1 do
  local rank = math.floor(i * delayed / looked)
  count(redis.call("ZRANGE", KEYS[2], rank, rank)[1], delayed / looked)
end

local busiest
for hash, jobs in pairs(counts) do
  if not busiest or jobs > counts[busiest] then busiest = hash end
end
if not busiest then return {} end
return {
  waiting + delayed + redis.call("ZCARD", KEYS[3]), math.floor(counts[busiest] + 0.5),
  redis.call("ZCARD", base .. "key:" .. busiest .. ":held"), redis.call("SISMEMBER", KEYS[4], busiest),
  examples[busiest],
}

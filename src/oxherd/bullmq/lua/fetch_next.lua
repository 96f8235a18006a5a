-- BullMQ's moveToActive. A call that waits in the server before it runs sends 0 as ARGV[2]: the server's clock then takes
-- the place of ours.
--- @include "includes/guard"
do
  local rest = redis.call("PTTL", ARGV[1] .. "rest")
  if rest > 0 then return {0, 0, rest, 0} end
end
if ARGV[2] == "0" then
  local now = redis.call("TIME")
  ARGV[2] = string.format("%.0f", now[1] * 1000 + math.floor(now[2] / 1000))
end
-- Fails on a damaged `active` before a job is taken off `prioritized`.
redis.call("LLEN", KEYS[2])
promotableJobs(ARGV[1], ARGV[2])
local function fetch()
--- @bullmq
end
local reply = fetch()
-- BullMQ does not say when the next delayed job is due while the queue is paused or at its concurrency.
if reply[1] == 0 and reply[4] == 0 then
  local upcoming = redis.call("ZRANGE", KEYS[7], 0, 0, "WITHSCORES")
  if upcoming[2] then reply[4] = tonumber(upcoming[2]) / 0x1000 end
end
-- What keys hold back, also where no event of this worker has limits by key any more.
if reply[1] == 0 and redis.call("EXISTS", ARGV[1] .. "keys") == 1 then
--- @include "includes/keyed"
  local now = serverMs()
  admitDue(ARGV[1], now)
  local look = redis.call("ZRANGE", ARGV[1] .. "keys", 0, 0, "WITHSCORES")
  -- By the worker's clock.
  local again = look[2] and math.max(1, tonumber(ARGV[2]) + tonumber(look[2]) - now)
  if again and (not reply[4] or reply[4] == 0 or again < reply[4]) then reply[4] = again end
end
return reply

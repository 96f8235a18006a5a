-- BullMQ's moveToFinished, which loses no job to a damaged key or to a parent that cannot be notified. The last three
-- ARGV are "1" on a cluster, "1" to end the job without its parent, and a message for the outbox, "" for none.
--- @include "includes/guard"
--- @include "includes/parents"
--- @include "includes/room"
--- @include "includes/outbox"
--- @include "includes/answer"
--- @include "includes/cancel"
--- @include "includes/unique"
--- @include "includes/keyed"
if ARGV[6] == "1" and redis.call("PTTL", ARGV[7] .. "rest") > 0 then ARGV[6] = "" end
if ARGV[6] == "1" then promotableJobs(ARGV[7], ARGV[2]) end
local opts, clustered, detach = cmsgpack.unpack(ARGV[8]), ARGV[10] == "1", ARGV[11] == "1"
-- Metrics are collected where a worker of Node's has begun to, be it of the other outcome. How many minutes it keeps is
-- not stored: two weeks are kept.
if redis.call("EXISTS", ARGV[7] .. "metrics:completed", ARGV[7] .. "metrics:failed") > 0 then
  local counted, points = redis.pcall("HMGET", KEYS[13], "count", "prevTS", "prevCount"), redis.pcall("LLEN", KEYS[13] .. ":data")
  if not counted.err and type(points) == "number" and (counted[1] or redis.call("EXISTS", KEYS[13]) == 0)
    and isInteger(counted[1]) and isInteger(counted[2]) and isInteger(counted[3]) and (counted[3] or not counted[2]) then
    opts["maxMetricsSize"] = math.max(points, 20160)
    ARGV[8] = cmsgpack.pack(opts)
  end
end
local noted = redis.pcall("HMGET", KEYS[12], "ox:asked", "ox:cancel", "deid", "ox:key")
leaveToHolder(ARGV[7], ARGV[1], noted[3])
local reply = endWithMessage(ARGV[7], ARGV[12], function()
  return finish(ARGV[7], ARGV[1], ARGV[2], KEYS[11], opts, clustered, detach, function()
--- @bullmq
  end)
end)
if reply == 0 then wakeIfRoom(ARGV[7]) end
if type(reply) == "table" or reply >= 0 then
  settleAnswer(noted[1] == "1", ARGV[7], ARGV[1], ARGV[5], ARGV[4], endOf(ARGV[9]))
  -- An operator's retry of the job is not cancelled.
  if noted[2] then forgetRequest(ARGV[7], ARGV[1]) end
  if noted[4] then release(ARGV[7], ARGV[1], noted[4], "0") end
end
return reply

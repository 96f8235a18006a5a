-- Cancels a job. One that waits is removed by BullMQ's removeJob, and leaves its answer; one that runs, or waits for its
-- children, gets a request (`ox:cancel`), which its worker hears of, or whoever begins it next.
--
-- KEYS: the job, repeat
-- ARGV[1] id, [2] "0": children stay, [3] key prefix, [4] reason, [5] "1" on a cluster,
-- [6] the end that an answer tells of, [7] "1": only what waits, and is then removed
-- Returns 1 if it is removed or requested, 2 if the job was cancelled before, -8 if it is a schedule's next tick, 0 if
-- it has ended or is not stored.
--- @include "includes/guard"
--- @include "includes/parents"
--- @include "includes/answer"
--- @include "includes/cancel"
--- @include "includes/unique"
--- @include "includes/keyed"
local id, base, reason, clustered = ARGV[1], ARGV[3], ARGV[4], ARGV[5] == "1"
local jobKey = base .. id

local function wasCancelled(key, field)
  local ended = redis.pcall("HGET", key, field)
  return type(ended) == "string" and string.match(ended, "^cancelled ") and 2 or 0
end

local function request()
  if ARGV[7] == "1" then return 0 end
  if redis.call("HEXISTS", jobKey, "ox:cancel") == 0 then redis.call("HSET", jobKey, "ox:cancel", reason) end
  return 1
end

if redis.call("EXISTS", jobKey) == 0 then return wasCancelled(base .. "answer:" .. id, "end") end
local noted = redis.call("HMGET", jobKey, "deid", "ox:key")
local deduplicated = noted[1]
if redis.call("ZSCORE", base .. "completed", id) then return 0 end
if redis.call("ZSCORE", base .. "failed", id) then return wasCancelled(jobKey, "ox:end") end
if ARGV[7] ~= "1" and redis.call("LPOS", base .. "active", id) then
  redis.call("SADD", base .. "cancels", id)
  -- Nobody looks at the set while no worker of ours runs anything.
  for _, other in ipairs(redis.call("SRANDMEMBER", base .. "cancels", 10)) do
    if other ~= id then requestOf(base, other) end
  end
  return request()
end
if redis.call("ZSCORE", base .. "waiting-children", id) then return request() end
local waits = redis.call("ZSCORE", base .. "delayed", id) or redis.call("ZSCORE", base .. "prioritized", id)
  or redis.call("LPOS", base .. "wait", id) or redis.call("LPOS", base .. "paused", id)
if not waits then
  if not deduplicated or redis.pcall("HGET", base .. "dn:" .. deduplicated, "jid") ~= id then return 0 end
  -- It is to follow another, and on no list until then.
  redis.call("DEL", base .. "dn:" .. deduplicated, jobKey)
  redis.call("XADD", base .. "events", "*", "event", "removed", "jobId", id, "prev", "wait", "ox:cancelled", reason)
  leaveAnswer(base, id, "removed", reason, ARGV[6])
  return 1
end

-- What removeJob writes after it has taken the job off its list.
local damaged = damagedKey(base, {"events", "marker"})
  or (not isInteger(redis.call("HGET", base .. "meta", "opts.maxLenEvents")) and base .. "meta")
  or (deduplicated and fails("GET", base .. "de:" .. deduplicated) and base .. "de:" .. deduplicated)
if damaged then error("the job cannot be removed, since this key is damaged: " .. damaged, 0) end
-- Its worker ends it without its parent, and says so.
if parentFault(jobKey, clustered) then return request() end
-- `once` holds on: what is emitted twice does not bring a cancelled event back.
if deduplicated == id then redis.call("HDEL", jobKey, "deid") end
local follower = followerOf(base, id, deduplicated)
local removed = (function()
--- @bullmq
end)()
if removed == -8 then return removed end
-- Its lock is left over.
if removed == 0 then return request() end
if follower then beginFollower(base, follower, deduplicated) end

-- BullMQ's entry does not say why.
local events = base .. "events"
local last = redis.call("XREVRANGE", events, "+", "-", "COUNT", 1)[1]
local prev = "wait"
if last and last[2][2] == "removed" and last[2][4] == id then
  prev = last[2][6] or prev
  redis.call("XDEL", events, last[1])
end
redis.call("XADD", events, "*", "event", "removed", "jobId", id, "prev", prev, "ox:cancelled", reason)
leaveAnswer(base, id, "removed", reason, ARGV[6])
-- An ordered queue that waits for this job's retry goes on.
if redis.pcall("GET", base .. "held") == id then
  redis.call("DEL", base .. "held")
  redis.call("ZADD", base .. "marker", 0, "0")
end
release(base, id, noted[2], "0")
return 1

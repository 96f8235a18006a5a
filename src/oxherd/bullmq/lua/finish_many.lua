-- Completes jobs that are removed, and begins as many next ones: what BullMQ's moveToFinished does for each in turn, with
-- what they share looked up once. The unusual is left to BullMQ's script: a paused, limited, resting or metered queue (the reply is empty), a
-- job with a parent, children, a deduplication id or a key with limits (its code is 1).
--
-- KEYS: wait, active, prioritized, events, stalled, delayed, meta, pc, marker
-- ARGV[1] key prefix, [2] timestamp, [3] lock in milliseconds, [4] worker's name, then for each job: id, token, result,
-- "1" to fetch a next one
-- Returns {code, next} for each job: code is 0, 1 or one of moveToFinished's; next is as in moveToFinished, but a job's
-- fields are the values of name, data, opts, timestamp, atm, ats, stc, defa, rjk, stacktrace, ox:uncounted, priority, ox:ran,
-- ox:cancel, ox:runs.
--- @include "includes/guard"
--- @include "includes/answer"
--- @include "includes/promote"
local rcall = redis.call
local wait, active, prioritized, events, stalled = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local delayed, meta, pc, marker = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local prefix, timestamp, lockDuration, worker = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local queue = rcall("HMGET", meta, "paused", "concurrency", "max", "opts.maxLenEvents")
if queue[1] or queue[2] or queue[3] or rcall("EXISTS", prefix .. "metrics:completed", prefix .. "metrics:failed", prefix .. "rest") > 0 then return {} end
local maxEvents = queue[4]
if not maxEvents then
  maxEvents = 10000
  rcall("HSET", meta, "opts.maxLenEvents", maxEvents)
end
rcall("XTRIM", events, "MAXLEN", "~", maxEvents)

local function finish(jobKey, id, token, result)
  local job = rcall("HMGET", jobKey, "name", "parentKey", "parent", "deid", "ox:asked", "ox:cancel", "ox:key")
  if not job[1] then
    return rcall("EXISTS", jobKey) == 1 and 1 or -1
  end
  if job[2] or job[3] or job[4] or job[7] then return 1 end
  if rcall("EXISTS", jobKey .. ":dependencies", jobKey .. ":unsuccessful") > 0 then return 1 end
  local lockKey = jobKey .. ":lock"
  local holder = rcall("GET", lockKey)
  if holder ~= token then return holder and -6 or -2 end
  if rcall("LREM", active, -1, id) < 1 then
    rcall("DEL", lockKey)
    rcall("SREM", stalled, id)
    return -3
  end
  rcall("DEL", lockKey, jobKey, jobKey .. ":logs", jobKey .. ":dependencies", jobKey .. ":processed",
    jobKey .. ":failed", jobKey .. ":unsuccessful", prefix .. "answer:" .. id)
  rcall("XADD", events, "*", "event", "completed", "jobId", id, "returnvalue", result, "prev", "active")
  if job[5] then leaveAnswer(prefix, id, "completed", result, "") end
  if job[6] then rcall("SREM", prefix .. "cancels", id) end
  return 0
end

local promoted = false
local began = false
local function fetch(token)
  if not promoted then promoteDelayed(prefix, timestamp) end
  promoted = true
  local id = rcall("RPOPLPUSH", wait, active)
  if id and string.sub(id, 1, 2) == "0:" then
    -- A marker of BullMQ 4, which BullMQ's script drops as well.
    rcall("LREM", active, 1, id)
    id = rcall("RPOPLPUSH", wait, active)
  end
  if not id then
    local first = rcall("ZPOPMIN", prioritized)
    if #first > 0 then
      id = first[1]
      rcall("LPUSH", active, id)
    else
      rcall("DEL", pc)
    end
  end
  if id then
    local jobKey = prefix .. id
    rcall("SET", jobKey .. ":lock", token, "PX", lockDuration)
    rcall("XADD", events, "*", "event", "active", "jobId", id, "prev", "waiting")
    local fields = redis.pcall("HMGET", jobKey, "name", "data", "opts", "timestamp", "atm", "ats", "stc", "defa", "rjk", "stacktrace",
      "ox:uncounted", "priority", "ox:ran", "ox:cancel", "ox:runs")
    if fields.err then
      -- The key holds no hash: the worker quarantines the job.
      fields = {}
    elseif #(fields[6] or "0") <= 9 and string.match(fields[6] or "0", "^%d+$") then
      fields[6] = string.format("%d", tonumber(fields[6] or 0) + 1)
      rcall("HSET", jobKey, "processedOn", timestamp, "pb", worker, "ats", fields[6])
    else
      rcall("HSET", jobKey, "processedOn", timestamp, "pb", worker)
      local begun = redis.pcall("HINCRBY", jobKey, "ats", 1)
      if type(begun) == "number" then fields[6] = string.format("%.0f", begun) end
    end
    began = true
    return {fields, id, 0, 0}
  end
  local upcoming = rcall("ZRANGE", delayed, 0, 0, "WITHSCORES")
  if upcoming[2] then return {0, 0, 0, tonumber(upcoming[2]) / 0x1000} end
  return 0
end

local replies, finished = {}, {}
for i = 5, #ARGV, 4 do
  local id, token = ARGV[i], ARGV[i + 1]
  local code = finish(prefix .. id, id, token, ARGV[i + 2])
  local next = 0
  if code == 0 then
    finished[#finished + 1] = id
    if ARGV[i + 3] == "1" then next = fetch(token) end
    if next == 0 and rcall("LLEN", wait) == 0 and rcall("LLEN", active) == 0 and rcall("ZCARD", prioritized) == 0 then
      rcall("XADD", events, "*", "event", "drained")
    end
  end
  replies[#replies + 1] = {code, next}
end
if #finished > 0 then rcall("SREM", stalled, unpack(finished)) end
if began then rcall("ZADD", marker, 0, "0") end
return replies

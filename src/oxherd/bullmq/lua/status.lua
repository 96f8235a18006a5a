-- Reads how a job is doing.
--
-- KEYS: the job
-- ARGV[1] key prefix, [2] id
-- Returns {last id of the event stream, state, "1" if the queue is paused, "1" if its key holds it back, due time in
-- milliseconds or 0, then the job's fields}; 0 if it is not stored.
local base, id = ARGV[1], ARGV[2]
local job = redis.pcall("HMGET", KEYS[1], "timestamp", "atm", "ats", "progress", "failedReason", "ox:end", "pb", "processedOn",
  "finishedOn", "name", "ox:key")
-- Other hashes of the queue must not pass for jobs.
if job.err or not (job[10] or redis.call("HEXISTS", KEYS[1], "data") == 1) then return 0 end
local due = redis.call("ZSCORE", base .. "delayed", id)
-- One that its key holds back waits, whatever its score.
local held = due and job[11] and redis.call("ZSCORE", base .. "key:" .. job[11] .. ":held", id)
if held then due = false end
local state = due and "delayed" or "waiting"
for _, each in ipairs({"completed", "failed", "waiting-children"}) do
  if redis.call("ZSCORE", base .. each, id) then state = each end
end
-- The list of those that run is short; the lock of a stalled one is gone.
if state == "waiting" and redis.call("LPOS", base .. "active", id) then state = "running" end
local paused = redis.call("HEXISTS", base .. "meta", "paused") == 1
local last = redis.pcall("XREVRANGE", base .. "events", "+", "-", "COUNT", 1)
local position = last[1] and last[1][1] or "0-0"
return {position, state, paused and "1" or "", held and "1" or "", due and string.format("%.0f", math.floor(due / 0x1000)) or "0", unpack(job, 1, 10)}

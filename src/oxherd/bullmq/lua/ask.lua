-- Asks for a job's answer: returns it if the job has ended, else has it left when the job ends.
--
-- KEYS: the job
-- ARGV[1] key prefix, [2] id
-- Returns {state, value, end} of a job that has ended, "completed", "failed", or "removed" (it was cancelled); {"stored"} or
-- {"gone"} of others.
local base, id = ARGV[1], ARGV[2]
local job = redis.pcall("HMGET", KEYS[1], "name", "returnvalue", "failedReason", "ox:end")
-- Other hashes of the queue must not pass for jobs.
if not job.err and (job[1] or redis.call("HEXISTS", KEYS[1], "data") == 1) then
  if redis.call("ZSCORE", base .. "completed", id) then return {"completed", job[2] or "null", ""} end
  if redis.call("ZSCORE", base .. "failed", id) then return {"failed", job[3] or "", job[4] or ""} end
  redis.call("HSET", KEYS[1], "ox:asked", 1)
  return {"stored"}
end
local answer = redis.pcall("HMGET", base .. "answer:" .. id, "state", "value", "end")
if answer[1] and not answer.err then return answer end
return {"gone"}

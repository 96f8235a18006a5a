-- Requests to cancel jobs that run: the job's field `ox:cancel` has the reason, and the set `cancels` their ids, so that
-- their workers need not look at every job.

-- Why a job that runs is to be cancelled. Other ids leave the set; where another program ended the job and kept it, the
-- request goes as well, so that it does not cancel the job once it is retried.
local function requestOf(base, id)
  local reason = redis.pcall("HGET", base .. id, "ox:cancel")
  if type(reason) == "string" and redis.call("LPOS", base .. "active", id) then return reason end
  redis.call("SREM", base .. "cancels", id)
  if type(reason) ~= "string" then return end
  if redis.call("ZSCORE", base .. "completed", id) or redis.call("ZSCORE", base .. "failed", id) then
    redis.call("HDEL", base .. id, "ox:cancel")
  end
end

local function forgetRequest(base, id)
  redis.pcall("HDEL", base .. id, "ox:cancel")
  redis.pcall("SREM", base .. "cancels", id)
end

-- Whether a job that `token` has locked is to be cancelled: then it is not tried again.
local function isCancelled(base, id, token)
  return redis.pcall("HEXISTS", base .. id, "ox:cancel") == 1 and redis.call("GET", base .. id .. ":lock") == token
end

-- Finds and quarantines jobs that make BullMQ's scripts fail: these would begin them forever, or leave them in no list.
-- Needs guard.lua.

-- What is wrong with a job's hash; nil if BullMQ's scripts can read it.
local function damageOf(jobKey)
  local fields = redis.pcall("HMGET", jobKey, "priority", "parent", "atm", "ats", "stc", "ox:uncounted", "ox:beside")
  if fields.err then return "its key holds no hash" end
  for i = 3, 7 do
    if not isInteger(fields[i]) then return "a counter is not a number" end
  end
  if not isInteger(fields[1]) then return "its priority is not a whole number" end
  if fields[2] then
    local read, parent = pcall(cjson.decode, fields[2])
    if not read or type(parent) ~= "table" or type(parent["queueKey"]) ~= "string"
      or (type(parent["id"]) ~= "string" and type(parent["id"]) ~= "number") then
      return "its parent cannot be read"
    end
  end
  if fails("SCARD", jobKey .. ":dependencies") or fails("ZCARD", jobKey .. ":unsuccessful") then
    return "its children cannot be read"
  end
end

-- Moves a job to `failed`. If its key holds no hash, the id is only taken off the queue and the key left alone. Returns
-- whether there is a parent, which is not notified.
local function quarantine(base, id, now, found)
  local reason = "the job cannot be read: " .. found
  local jobKey = base .. id
  redis.call("LREM", base .. "active", 0, id)
  redis.call("SREM", base .. "stalled", id)
  redis.call("DEL", jobKey .. ":lock")
  if fails("HGET", jobKey, "atm") then return end
  redis.call("HSET", jobKey, "failedReason", reason, "finishedOn", now)
  redis.call("HDEL", jobKey, "defa")
  redis.call("ZADD", base .. "failed", now, id)
  -- The default number of failed jobs to keep.
  for _, old in ipairs(redis.call("ZRANGE", base .. "failed", 0, -10001)) do
    redis.call("DEL", base .. old, base .. old .. ":logs")
  end
  redis.call("ZREMRANGEBYRANK", base .. "failed", 0, -10001)
  redis.call("XADD", base .. "events", "*", "event", "failed", "jobId", id, "failedReason", reason, "prev", "active")
  return redis.call("HEXISTS", jobKey, "parentKey") == 1
end

-- Takes a job on which BullMQ's scripts fail off the queue: they would begin it for ever, or leave it in no list at all.
-- For scripts of ours; `base` is the prefix of the queue's keys.

local function fails(...)
  local reply = redis.pcall(...)
  return type(reply) == "table" and reply.err
end

-- What is wrong with a job's hash, nil where BullMQ's scripts can read it.
local function damage(jobKey)
  local fields = redis.pcall("HMGET", jobKey, "atm", "ats", "stc", "parent")
  if fields.err then return "its key holds no hash" end
  for i = 1, 3 do
    local count = fields[i] or "0"
    if #count > 15 or (count ~= "0" and not string.match(count, "^%-?[1-9]%d*$")) then
      return "a counter is not a number"
    end
  end
  if fields[4] then
    local read, parent = pcall(cjson.decode, fields[4])
    if not read or type(parent) ~= "table" or not parent["id"] or type(parent["queueKey"]) ~= "string" then
      return "its parent cannot be read"
    end
  end
  if fails("SCARD", jobKey .. ":dependencies") or fails("ZCARD", jobKey .. ":unsuccessful") then
    return "its children cannot be read"
  end
end

-- Moves a job to `failed`; one whose key holds no hash is only taken off the queue, its key left as it is.
local function setAside(base, id, now, reason)
  local jobKey = base .. id
  redis.call("LREM", base .. "active", 0, id)
  redis.call("SREM", base .. "stalled", id)
  redis.call("DEL", jobKey .. ":lock")
  if fails("HGET", jobKey, "atm") then return end
  redis.call("HSET", jobKey, "failedReason", reason, "finishedOn", now)
  redis.call("HDEL", jobKey, "defa")
  redis.call("ZADD", base .. "failed", now, id)
  -- As many as are kept by default.
  for _, old in ipairs(redis.call("ZRANGE", base .. "failed", 0, -10001)) do
    redis.call("DEL", base .. old, base .. old .. ":logs")
  end
  redis.call("ZREMRANGEBYRANK", base .. "failed", 0, -10001)
  redis.call("XADD", base .. "events", "*", "event", "failed", "jobId", id, "failedReason", reason, "prev", "active")
end

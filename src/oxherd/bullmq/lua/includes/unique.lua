-- Deduplication keys at the end of a job. `unique` is the job's field `deid`: the key `de:<deid>` names the job that holds it, and
-- `dn:<deid>` one that is to follow that.

-- A job that holds its key no more is an operator's retry of one that has ended: BullMQ's moveToFinished would let what is to
-- follow the present holder begin beside it.
local function leaveToHolder(base, id, unique)
  if not unique then return end
  local holder = redis.pcall("GET", base .. "de:" .. unique)
  if type(holder) == "string" and holder ~= id then redis.call("HDEL", base .. id, "deid") end
end

-- The job that is to follow one, which BullMQ's removeJob would drop; nil if there is none.
local function followerOf(base, id, unique)
  if not unique or redis.pcall("GET", base .. "de:" .. unique) ~= id then return end
  local follower = redis.pcall("HGET", base .. "dn:" .. unique, "jid")
  if type(follower) == "string" and redis.pcall("HEXISTS", base .. follower, "name") == 1 then return follower end
end

-- Puts a job that was to follow another on its queue.
local function beginFollower(base, id, unique)
  local now, job = redis.call("TIME"), redis.call("HMGET", base .. id, "delay", "priority")
  local ms, delay, priority = now[1] * 1000 + math.floor(now[2] / 1000), tonumber(job[1]) or 0, tonumber(job[2]) or 0
  redis.call("SET", base .. "de:" .. unique, id)
  redis.call("HSET", base .. id, "timestamp", string.format("%.0f", ms))
  redis.call("XADD", base .. "events", "*", "event", "added", "jobId", id, "name", redis.call("HGET", base .. id, "name"))
  if delay > 0 then
    redis.call("ZADD", base .. "delayed", string.format("%.0f", (ms + delay) * 0x1000), id)
    redis.call("XADD", base .. "events", "*", "event", "delayed", "jobId", id, "delay", string.format("%.0f", ms + delay))
  else
    if priority > 0 then
      local count = redis.call("INCR", base .. "pc") % 0x100000000
      redis.call("ZADD", base .. "prioritized", priority * 0x100000000 + count, id)
    else
      redis.call("LPUSH", base .. "wait", id)
    end
    redis.call("XADD", base .. "events", "*", "event", "waiting", "jobId", id)
  end
  redis.call("ZADD", base .. "marker", 0, "0")
end

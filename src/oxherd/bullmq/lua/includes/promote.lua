-- Moves delayed jobs that are due to the queue, as BullMQ does; returns how many. Needs guard.lua.
local function promoteDelayed(base, now)
  local due = promotableJobs(base, now)
  if #due == 0 then return 0 end
  redis.call("ZREM", base .. "delayed", unpack(due))
  for _, id in ipairs(due) do
    local jobKey = base .. id
    local priority = tonumber(redis.call("HGET", jobKey, "priority")) or 0
    if priority == 0 then
      redis.call("LPUSH", base .. "wait", id)
    else
      local count = redis.call("INCR", base .. "pc") % 0x100000000
      redis.call("ZADD", base .. "prioritized", priority * 0x100000000 + count, id)
    end
    redis.call("XADD", base .. "events", "*", "event", "waiting", "jobId", id, "prev", "delayed")
    redis.call("HSET", jobKey, "delay", 0)
  end
  redis.call("ZADD", base .. "marker", 0, "0")
  return #due
end

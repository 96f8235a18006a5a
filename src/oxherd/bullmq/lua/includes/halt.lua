-- Takes a schedule's next tick off `delayed`, and gives the schedule a time that no tick has: whoever begins a tick that has
-- come due, Node's workers too, adds none after it.
local function halt(repeatKey, delayedKey, eventsKey, base, id)
  local due = redis.call("ZSCORE", repeatKey, id)
  if not due then return end
  local tick = "repeat:" .. id .. ":" .. due
  if redis.call("EXISTS", base .. tick) == 0 then return end
  redis.call("ZADD", repeatKey, string.format("%.0f", tonumber(due) + 1), id)
  if redis.call("ZREM", delayedKey, tick) == 1 then
    redis.call("DEL", base .. tick, base .. tick .. ":logs")
    redis.call("XADD", eventsKey, "*", "event", "removed", "jobId", tick, "prev", "delayed")
  end
end

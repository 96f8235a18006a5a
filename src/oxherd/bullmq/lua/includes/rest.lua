-- Lets a queue begin nothing for some milliseconds: ours, under `base`. A longer rest is never shortened.
local function rest(base, ms)
  if redis.call("PTTL", base .. "rest") < ms then redis.call("SET", base .. "rest", 1, "PX", ms) end
  -- Node's workers look only at BullMQ's own key, and only where there is a rate; the count of a window that lasts longer
  -- is still needed.
  local limiter = base .. "limiter"
  if redis.call("HEXISTS", base .. "meta", "max") == 1 and redis.call("PTTL", limiter) < ms then
    redis.call("SET", limiter, "9007199254740991", "PX", ms)
  end
end

-- Renews locks as BullMQ's extendLocks does, and takes back expired ones of jobs that nobody has begun since, by `ats`. One
-- script for both, so that no check for stalled jobs fits in between.
--
-- KEYS: stalled, active
-- ARGV[1] key prefix, [2] lock in milliseconds, then id, token and fence of each job
-- Returns 1 for each job that is the worker's, 0 for each that is lost.
local replies = {}
local active
for i = 3, #ARGV, 3 do
  local id, token, fence = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local lock = ARGV[1] .. id .. ":lock"
  local holder = redis.call("GET", lock)
  local owned = holder == token
  if not holder and redis.call("HGET", ARGV[1] .. id, "ats") == fence then
    if not active then
      active = {}
      for _, running in ipairs(redis.call("LRANGE", KEYS[2], 0, -1)) do active[running] = true end
    end
    owned = active[id] == true
  end
  if owned then
    -- A full server accepts SREM, and then the rest of the script.
    redis.call("SREM", KEYS[1], id)
    redis.call("SET", lock, token, "PX", ARGV[2])
  end
  replies[#replies + 1] = owned and 1 or 0
end
return replies

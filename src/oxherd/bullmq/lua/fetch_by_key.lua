-- fetch_next for a queue of which some events have limits for each key: holds back what their keys have no room for. Of one
-- call it holds back a thousand at most; then its reply says to look again at once.
--- @include "includes/guard"
--- @include "includes/promote"
--- @include "includes/keyed"
local base, now = ARGV[1], serverMs()
if ARGV[2] == "0" then ARGV[2] = string.format("%.0f", now) end
local wait, prioritized = KEYS[1], KEYS[3]
local function fetchNext()
--- @include "fetch_next"
end
-- Fails on a damaged `active` before anything is moved.
redis.call("LLEN", KEYS[2])
for _, hash in ipairs(redis.call("ZRANGEBYSCORE", base .. "keys", "-inf", now, "LIMIT", 0, 100)) do admit(base, hash, now) end
-- BullMQ's script promotes as well, and must not begin what has not been looked at here.
local moreDue = promoteDelayed(base, ARGV[2]) == 1000

-- The job that BullMQ's script would begin, and whether it has a priority.
local function upcoming()
  while true do
    local id = redis.call("LINDEX", wait, -1)
    if id and string.sub(id, 1, 2) == "0:" then redis.call("RPOP", wait) -- a marker of BullMQ 4
    elseif id then return id, false
    elseif moreDue then moreDue = promoteDelayed(base, ARGV[2]) == 1000
    else return redis.call("ZRANGE", prioritized, 0, 0)[1], true end
  end
end

local full = {}
-- Whether a job may begin as far as its key goes, and its turn if it may not.
local function mayBegin(id, job)
  local hash = job[1]
  local running = base .. "key:" .. hash .. ":running"
  dropLapsed(base, hash, now)
  local share = redis.call("ZSCORE", running, id)
  if share == "0" then
    -- That of a run whose worker has died.
    redis.call("ZREM", running, id)
    share = nil
  end
  if full[hash] and not share then return false, turnOf(base, id, job) end
  local room, again = roomOf(base, hash, keyLimits(base, job[2]), now, share and 1 or 0)
  if room > 0 then
    local first, its = firstHeld(base, hash)
    local ahead = not share and firstLetGo(base, hash)
    if not first and not ahead then return true end
    local turn = turnOf(base, id, job)
    if turn <= (its or turn) and turn <= (ahead or turn) then return true end
    -- Those that were held back go first, now that there is room again.
    redis.call("ZREM", running, id)
    return false, turn, true
  end
  full[hash] = true
  redis.call("ZREM", running, id)
  lookAgain(base, hash, again)
  return false, turnOf(base, id, job)
end

local begins, job
for _ = 1, MOST_AT_ONCE do
  local isPrioritized
  begins, isPrioritized = upcoming()
  job = begins and redis.pcall("HMGET", base .. begins, "ox:key", "name", "ox:turn", "ats", "priority")
  if not job or job.err or not job[1] then break end
  local may, turn, admits = mayBegin(begins, job)
  if may then break end
  hold(base, begins, isPrioritized, job[1], turn, now)
  if admits then admit(base, job[1], now) end
  begins = nil
end
if not begins and job then return {0, 0, 0, 1} end

local reply = fetchNext()
if reply[1] ~= 0 then
  if job and not job.err and job[1] then countBegin(base, reply[2], job[1], keyLimits(base, job[2]), now) end
  return reply
end
-- By the worker's clock.
local look = redis.call("ZRANGE", base .. "keys", 0, 0, "WITHSCORES")
local again = look[2] and math.max(1, tonumber(ARGV[2]) + tonumber(look[2]) - now)
if again and (not reply[4] or reply[4] == 0 or again < reply[4]) then reply[4] = again end
return reply

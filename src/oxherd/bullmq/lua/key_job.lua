-- Notes the hash of a job's key, ARGV[6], which nobody has known before it was fetched, and puts the job back as requeue does:
-- at the head of the queue if its key has room, else behind those that its key holds back.
local function requeue()
--- @include "requeue"
end
local reply = requeue()
if reply < 0 then return reply end
--- @include "includes/keyed"
local base, id, hash, now = string.sub(ARGV[3], 1, -#ARGV[1] - 1), ARGV[1], ARGV[6], serverMs()
redis.call("HSET", ARGV[3], "ox:key", hash)
local job = redis.call("HMGET", ARGV[3], "ox:key", "name", "ox:turn", "ats", "priority")
job[4] = "0" -- its handler has not begun
local turn = turnOf(base, id, job)
local room, again = roomOf(base, hash, keyLimits(base, job[2]), now, 0)
local first, its = firstHeld(base, hash)
if room > 0 and (not first or turn < its) then
  -- Others that are keyed at the same time must not pass it.
  takeShare(base .. "key:" .. hash, id, now + LOOK_MS)
else
  hold(base, id, (tonumber(job[5]) or 0) > 0, hash, turn, now)
  if room > 0 then admit(base, hash, now, MOST_AT_ONCE) else lookAgain(base, hash, again) end
end
-- BullMQ sets no marker for a prioritized job here: idle workers would sleep on.
redis.call("ZADD", KEYS[8], 0, "0")
return 0

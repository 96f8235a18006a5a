-- Limits for each key of an event. A job's field `ox:key` is the hash of its event and key, `ox:turn` its place in the key's
-- line. Of each key, `key:<hash>:held` has the ids that are held back, by turn: they are in `delayed` with a far score, so that
-- they come by themselves where this set is lost; `:running` those that run (score 0), or are let go to the queue and have not
-- begun (the score is when that is looked at again); `:rate` counts a window's begins; `:rest` exists while the key rests. `keys` has
-- the keys that hold something back, by when to look at them again; `keys:paused` those that are paused. Times are the
-- server's, in milliseconds.
local LOOK_MS, FAR_MS, MOST_AT_ONCE = 10000, 86400000, 1000
-- What is left of a key that nothing begins of any more, such as the share of a job that was removed by hand.
local FORGET_MS = 604800000

local function serverMs()
  local now = redis.call("TIME")
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- An event's limits for each of its keys, 0 for none; nil if it has none.
local function keyLimits(base, name)
  local field = name and redis.call("HGET", base .. "meta", "ox:per_key:" .. name)
  local most, count, per = string.match(field or "", "^(%d+)/(%d+)/(%d+)$")
  if most then return {most = tonumber(most), count = tonumber(count), per = per} end
end

local function takeShare(key, id, score)
  redis.call("ZADD", key .. ":running", score, id)
  redis.call("PEXPIRE", key .. ":running", FORGET_MS)
end

-- How many more of a key may begin, and when to look again if there is none; never while it is paused. `own` counts a share
-- that is not taken from others.
local function roomOf(base, hash, limits, now, own)
  local key = base .. "key:" .. hash
  local running = key .. ":running"
  if redis.call("SISMEMBER", base .. "keys:paused", hash) == 1 then return 0 end
  local rest = redis.call("PTTL", key .. ":rest")
  if rest > 0 then return 0, now + rest end
  if not limits then return math.huge, now + LOOK_MS end
  local room = MOST_AT_ONCE
  if limits.count > 0 then
    local left = redis.call("PTTL", key .. ":rate")
    local used = left > 0 and tonumber(redis.call("GET", key .. ":rate")) or 0
    if used >= limits.count then return 0, now + left end
    room = math.min(room, limits.count - used - redis.call("ZCOUNT", running, "(0", "+inf") + own)
  end
  if limits.most > 0 then
    local count = redis.call("ZCARD", running)
    if count - own >= limits.most then
      -- A worker has died over them, or Node's has ended them.
      for _, id in ipairs(redis.call("ZRANGEBYSCORE", running, 0, 0)) do
        if not redis.call("LPOS", base .. "active", id) then count = count - redis.call("ZREM", running, id) end
      end
    end
    room = math.min(room, limits.most - count + own)
  end
  return math.max(room, 0), now + LOOK_MS
end

-- The first of those that a key holds back; drops what was taken off `delayed` by others.
local function firstHeld(base, hash)
  local held = base .. "key:" .. hash .. ":held"
  while true do
    local first = redis.call("ZRANGE", held, 0, 0, "WITHSCORES")
    if not first[1] or redis.call("ZSCORE", base .. "delayed", first[1]) then return first[1], tonumber(first[2]) end
    redis.call("ZREM", held, first[1])
  end
end

-- Renews the shares of what was let go to the queue and still waits there: those of its key that came later would pass it. Drops
-- those of what is gone, and after a day anyway: what is in no list any more must not use up its key's room for good.
local function dropLapsed(base, hash, now)
  local running = base .. "key:" .. hash .. ":running"
  for _, id in ipairs(redis.call("ZRANGEBYSCORE", running, "(0", now)) do
    local job = redis.pcall("HMGET", base .. id, "name", "finishedOn", "ats", "ox:lapsed")
    local isGone = job.err or not job[1] or job[2] or redis.call("ZSCORE", base .. "delayed", id)
      or redis.call("LPOS", base .. "active", id)
    local begins, since = string.match(not isGone and job[4] or "", "^(%d+) (%d+)$")
    if begins ~= (job[3] or "0") then since = nil end
    if isGone or (since and now - tonumber(since) > FAR_MS) then
      redis.call("ZREM", running, id)
    else
      if not since then redis.call("HSET", base .. id, "ox:lapsed", (job[3] or "0") .. " " .. string.format("%.0f", now)) end
      redis.call("ZADD", running, now + LOOK_MS, id)
    end
  end
end

-- The turn of what a key let go first to the back of the queue, where others of the key may be before it.
local function firstLetGo(base, hash)
  local first = redis.call("ZRANGEBYSCORE", base .. "key:" .. hash .. ":running", "(0", "+inf", "LIMIT", 0, 1)[1]
  return first and tonumber(redis.call("HGET", base .. first, "ox:turn"))
end

-- Has a key looked at again, should nothing else let go what it holds back.
local function lookAgain(base, hash, again)
  if not again then return end
  redis.call("ZADD", base .. "keys", again, hash)
  redis.call("ZADD", base .. "marker", "LT", again, "1")
end

-- A job's place in its key's line, for life, by priority; one that has begun before goes first. `job` are its fields ox:key,
-- name, ox:turn, ats and priority.
local function turnOf(base, id, job)
  if job[3] then return tonumber(job[3]) end
  local turn = (tonumber(job[5]) or 0) * 0x100000000
  if (tonumber(job[4]) or 0) == 0 then turn = turn + redis.call("HINCRBY", base .. "meta", "ox:turns", 1) % 0x100000000 end
  redis.call("HSET", base .. id, "ox:turn", string.format("%.0f", turn))
  return turn
end

-- Holds the queue's next job back.
local function hold(base, id, isPrioritized, hash, turn, now)
  redis.call("ZADD", base .. "key:" .. hash .. ":held", turn, id)
  redis.call("ZADD", base .. "delayed", string.format("%.0f", (now + FAR_MS) * 0x1000), id)
  if isPrioritized then redis.call("ZREM", base .. "prioritized", id) else redis.call("RPOP", base .. "wait") end
end

-- Lets go to the queue what a key holds back, as far as it has room, and says when to look at the key again.
local function admit(base, hash, now)
  local key = base .. "key:" .. hash
  local first, room, again = firstHeld(base, hash), nil, nil
  if first then
    dropLapsed(base, hash, now)
    room, again = roomOf(base, hash, keyLimits(base, redis.call("HGET", base .. first, "name")), now, 0)
  end
  while first and room > 0 do
    local priority = tonumber(redis.call("HGET", base .. first, "priority")) or 0
    -- At the back: the keys take turns.
    if priority > 0 then
      local count = redis.call("INCR", base .. "pc") % 0x100000000
      redis.call("ZADD", base .. "prioritized", priority * 0x100000000 + count, first)
    else
      redis.call("LPUSH", base .. "wait", first)
    end
    redis.call("ZREM", base .. "delayed", first)
    redis.call("ZREM", key .. ":held", first)
    takeShare(key, first, now + LOOK_MS)
    redis.call("XADD", base .. "events", "*", "event", "waiting", "jobId", first, "prev", "delayed")
    redis.call("ZADD", base .. "marker", 0, "0")
    first, room = firstHeld(base, hash), room - 1
  end
  if first and again then lookAgain(base, hash, again) else redis.call("ZREM", base .. "keys", hash) end
end

-- Counts the begin of a job, which has room.
local function countBegin(base, id, hash, limits, now)
  local key = base .. "key:" .. hash
  takeShare(key, id, 0)
  redis.call("ZREM", key .. ":held", id)
  if not limits or limits.count == 0 then return end
  local left, used = redis.call("PTTL", key .. ":rate"), 1
  if left > 0 then
    used = redis.call("INCR", key .. ":rate")
  else
    redis.call("SET", key .. ":rate", 1, "PX", limits.per)
    left = tonumber(limits.per)
  end
  if used >= limits.count and redis.call("EXISTS", key .. ":held") == 1 then lookAgain(base, hash, now + left) end
end

-- Gives a key's share back that a job has held, at every way out of `active`; `rest` is for how long the key rests, "0" for
-- not at all. A longer rest is not shortened.
local function release(base, id, hash, rest)
  if not hash or hash == "" then return end
  local key = base .. "key:" .. hash
  redis.call("ZREM", key .. ":running", id)
  if tonumber(rest) > redis.call("PTTL", key .. ":rest") and rest ~= "0" then redis.call("SET", key .. ":rest", 1, "PX", rest) end
  if redis.call("EXISTS", key .. ":held") == 1 then admit(base, hash, serverMs()) end
end

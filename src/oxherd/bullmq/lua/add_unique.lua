-- Adds jobs of one name and one set of options of which those with one deduplication id may make one job together. Waiting jobs
-- are held in BullMQ's `de:<id>`, which its moveToFinished and removeJob drop by the job's field `deid`; a payload that is to
-- follow one that runs is in its `dn:<id>`, of which moveToFinished makes the next job.
--
-- KEYS: wait, meta, id, active, events, marker, prioritized, delayed, pc, and the first job: it does not exist yet, so a server
-- whose slot is moving replies TRYAGAIN instead of starting the script
-- ARGV[1] key prefix, [2] timestamp, [3] name, [4] msgpacked options, [5] life of the `de:` keys of the jobs' own ids in
-- milliseconds (0: none), [6] rule: "done", "last", "within" or "debounce", [7] its time, [8] its longest time, both in
-- milliseconds, [9] delay, [10] priority, then for each job: id, data, telemetry metadata, deduplication id ("": none), and
-- what its limits go by ("": nothing)
-- Returns {index, id} for each job that made none, from 0, in one list: the id is that of the job it would have been.
--- @include "includes/guard"
local rcall = redis.call
local wait, meta, events, marker, prioritized, delayed = KEYS[1], KEYS[2], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local prefix, now, name, life, rule = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[5], ARGV[6]
local time, longest, delay, priority = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local queue = rcall("HMGET", meta, "paused", "concurrency", "opts.maxLenEvents")
local isPausedOrMaxed = queue[1] or (queue[2] and rcall("LLEN", KEYS[4]) >= tonumber(queue[2]))
local maxEvents = queue[3] or 10000

local function say(event, ...) rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", event, ...) end

local function deduplicated(first, id, unique)
  say("deduplicated", "jobId", first, "deduplicationId", unique, "deduplicatedJobId", id)
  return first
end

-- A job's hash: data, options with what is its own, what it is unique by, and what its limits go by.
local function fieldsOf(data, metadata, unique, limitKey, since, after)
  local options = cmsgpack.unpack(ARGV[4])
  if metadata ~= "" then options["tm"] = metadata end
  if priority > 0 then options["priority"] = priority end
  if after > 0 then options["delay"] = after end
  local fields = {"name", name, "data", data, "timestamp", string.format("%.0f", since), "delay", after, "priority", priority}
  if unique ~= "" then
    options["de"] = {id = unique, ttl = rule == "within" and time or nil, keepLastIfActive = rule == "last" or nil}
    fields[#fields + 1] = "deid"
    fields[#fields + 1] = unique
  end
  if limitKey ~= "" then
    fields[#fields + 1] = "ox:key"
    fields[#fields + 1] = limitKey
  end
  fields[#fields + 1] = "opts"
  fields[#fields + 1] = cjson.encode(options)
  return fields
end

local function delayUntil(id, due)
  rcall("ZADD", delayed, string.format("%.0f", due * 0x1000), id)
  say("delayed", "jobId", id, "delay", string.format("%.0f", due))
  local first = rcall("ZRANGE", delayed, 0, 0, "WITHSCORES")
  rcall("ZADD", marker, tonumber(first[2]) / 0x1000, "1")
end

local function store(id, fields, after)
  -- First, since it may fail on a damaged list: a hash that is in no list would count as stored.
  if after > 0 then
    delayUntil(id, now + after)
  elseif priority > 0 then
    rcall("ZADD", prioritized, priority * 0x100000000 + rcall("INCR", KEYS[9]) % 0x100000000, id)
  else
    rcall(cmsgpack.unpack(ARGV[4])["lifo"] and "RPUSH" or "LPUSH", wait, id)
  end
  rcall("HSET", prefix .. id, unpack(fields))
  rcall("XADD", events, "*", "event", "added", "jobId", id, "name", name)
  if after > 0 then return end
  say("waiting", "jobId", id)
  if not isPausedOrMaxed then rcall("ZADD", marker, 0, "0") end
end

-- Stores a job that holds `key`; leaves nothing behind if that fails halfway.
local function storeOrUndo(id, data, metadata, unique, limitKey, key)
  local after = rule == "debounce" and unique ~= "" and time or delay
  local stored, why = pcall(function()
    store(id, fieldsOf(data, metadata, unique, limitKey, now, after), after)
    if key then
      if rule == "within" then rcall("SET", key, id, "PX", time) else rcall("SET", key, id) end
    end
    if life ~= "0" then rcall("SET", prefix .. "de:" .. id, id, "PX", life) end
  end)
  if stored then return end
  removeFromLists(prefix, id)
  redis.pcall("DEL", prefix .. id)
  if key and redis.pcall("GET", key) == id then redis.pcall("DEL", key) end
  error(why, 0)
end

-- The job that holds a key while it has not ended, and whether it has begun.
local function holderOf(key)
  local id = rcall("GET", key)
  if not id then return end
  local job = redis.pcall("HMGET", prefix .. id, "name", "finishedOn", "ats")
  if job.err or not job[1] or job[2] then return end
  return id, job[3] and job[3] ~= "0"
end

-- A payload takes the place of another, which may have had another key: it lines up with that one's.
local function rekey(id, limitKey)
  local before = rcall("HGET", prefix .. id, "ox:key")
  if (before or "") == limitKey then return end
  if before then
--- @include "includes/keyed"
    local held = isHeld(prefix, id)
    if rcall("ZREM", prefix .. "key:" .. before .. ":held", id) == 1 and held then
      rcall("ZADD", delayed, 0x1000, id)
      rcall("ZADD", marker, 0, "0")
    end
    release(prefix, id, before, "0")
  end
  if limitKey == "" then rcall("HDEL", prefix .. id, "ox:key") else rcall("HSET", prefix .. id, "ox:key", limitKey) end
end

-- Gives a debounced job that has not begun the last payload, and a later due time.
local function debounce(id, data, metadata, unique, limitKey)
  local first = tonumber(rcall("HGET", prefix .. id, "timestamp")) or now
  local due = math.min(now + time, first + longest)
  rekey(id, limitKey)
  -- What is due already keeps its place.
  if rcall("ZSCORE", delayed, id) and due > now then delayUntil(id, due) end
  rcall("HSET", prefix .. id, unpack(fieldsOf(data, metadata, unique, limitKey, first, math.max(1, due - first))))
  if limitKey == "" then rcall("HDEL", prefix .. id, "ox:key") end
end

-- Has a payload follow a job that has begun, in place of one that was to follow it. Until then its job is in no list.
-- Returns the job that was to follow.
local function follow(id, data, metadata, unique, limitKey)
  local nextKey = prefix .. "dn:" .. unique
  local before = rcall("HGET", nextKey, "jid")
  local follower, fields = before or id, fieldsOf(data, metadata, unique, limitKey, now, delay)
  rcall("HSET", nextKey, "name", name, "data", data, "opts", fields[#fields], "jid", follower)
  rcall("HSET", prefix .. follower, unpack(fields))
  rekey(follower, limitKey)
  if life ~= "0" and not before then rcall("SET", prefix .. "de:" .. id, id, "PX", life) end
  return before
end

local function add(id, data, metadata, unique, limitKey)
  if rcall("EXISTS", prefix .. id) == 1 then
    say("duplicated", "jobId", id)
    return id
  end
  if life ~= "0" then
    local first = rcall("GET", prefix .. "de:" .. id)
    if first then return deduplicated(first, id, id) end
  end
  if unique == "" then return storeOrUndo(id, data, metadata, unique, limitKey) end
  local key = prefix .. "de:" .. unique
  if rule == "within" and rcall("PTTL", key) > 0 then return deduplicated(rcall("GET", key), id, unique) end
  local holder, begun = holderOf(key)
  if holder and not (rule == "debounce" and begun) then
    -- With a time, it was set under another rule, or by Node: it holds until its job ends.
    if rcall("PTTL", key) > 0 then rcall("SET", key, holder) end
    if rule == "last" and begun then
      local before = follow(id, data, metadata, unique, limitKey)
      deduplicated(holder, id, unique)
      return before
    end
    if rule == "last" then
      rcall("HSET", prefix .. holder, "data", data)
      rekey(holder, limitKey)
    end
    if rule == "debounce" then debounce(holder, data, metadata, unique, limitKey) end
    return deduplicated(holder, id, unique)
  end
  -- One was to follow a job that was lost: it takes that one's place.
  local before = rule == "last" and not holder and rcall("HGET", prefix .. "dn:" .. unique, "jid")
  storeOrUndo(before or id, data, metadata, unique, limitKey, key)
  if before then rcall("DEL", prefix .. "dn:" .. unique) end
  return before
end

-- Fails on a damaged list here, before anything of the first job is written.
rcall("LLEN", wait)
rcall("INCRBY", KEYS[3], (#ARGV - 10) / 5)
if not queue[3] then rcall("HSET", meta, "opts.maxLenEvents", maxEvents) end
local found = {}
for i = 11, #ARGV, 5 do
  local first = add(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  if first then
    found[#found + 1] = (i - 11) / 5
    found[#found + 1] = first
  end
end
return found

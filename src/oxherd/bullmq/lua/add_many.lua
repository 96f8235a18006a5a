-- Adds jobs of one name and one set of options, without parents, delays or priorities: what BullMQ's addStandardJob does
-- for each in turn, with what they share looked up once.
-- Of BullMQ's deduplication it does what `{id, ttl}` asks for, with each job's own id: the key `de:<id>` says that the job
-- was added. The job does not name it, since BullMQ has nothing to do at a job's end with a key that expires by itself.
--
-- KEYS: wait, meta, id, active, events, marker, and the first job: it does not exist yet, so a server whose slot is moving
-- replies TRYAGAIN instead of starting the script
-- ARGV[1] key prefix, [2] timestamp, [3] name, [4] msgpacked options, [5] life of the `de:` keys in milliseconds (0: none),
-- then for each job: id, data, telemetry metadata (mostly empty)
-- Returns nil if all were added, else {index, id} for each that was not, from 0, in one list: the id of the job that it repeats.
local rcall = redis.call
local wait, meta, events = KEYS[1], KEYS[2], KEYS[5]
local prefix, timestamp, name, life = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local options = cmsgpack.unpack(ARGV[4])
local written = cjson.encode(options)

rcall("INCRBY", KEYS[3], (#ARGV - 5) / 3)
local queue = rcall("HMGET", meta, "paused", "concurrency", "opts.maxLenEvents")
local maxEvents = queue[3]
if not maxEvents then
  maxEvents = 10000
  rcall("HSET", meta, "opts.maxLenEvents", maxEvents)
end
local isPausedOrMaxed = queue[1] or (queue[2] and rcall("LLEN", KEYS[4]) >= tonumber(queue[2]))

-- The options with a job's own metadata.
local function withMetadata(metadata)
  if metadata == "" then return written end
  return string.sub(written, 1, -2) .. (next(options) and "," or "") .. '"tm":' .. cjson.encode(metadata) .. "}"
end

-- The job that was added under that id within the life of its `de:` key; if there is none, sets the key.
local function deduplicated(id)
  local key = prefix .. "de:" .. id
  if rcall("SET", key, id, "PX", life, "NX") then return end
  local first = rcall("GET", key)
  if rcall("PTTL", key) == -1 and rcall("EXISTS", prefix .. first) == 0 then
    -- A key of Node's without expiry, which should have gone with its job.
    rcall("DEL", prefix .. "dn:" .. id)
    rcall("SET", key, id, "PX", life)
    return
  end
  rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", "deduplicated", "jobId", first, "deduplicationId", id,
    "deduplicatedJobId", id)
  return first
end

local deduplicates = life ~= "0"
-- Fails on a damaged list here, before a `de:` key is set without its job.
if deduplicates then rcall("LLEN", wait) end
local added, found = false, nil
local function repeats(i, first)
  found = found or {}
  found[#found + 1] = (i - 6) / 3
  found[#found + 1] = first
end
for i = 6, #ARGV, 3 do
  local id = ARGV[i]
  local jobKey = prefix .. id
  if rcall("EXISTS", jobKey) == 1 then
    rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", "duplicated", "jobId", id)
    repeats(i, id)
  else
    local first = deduplicates and deduplicated(id)
    if first then
      repeats(i, first)
    else
      -- First, since it may fail on a damaged list: a hash that is in no list would count as stored.
      rcall(options["lifo"] and "RPUSH" or "LPUSH", wait, id)
      rcall("HMSET", jobKey, "name", name, "data", ARGV[i + 1], "opts", withMetadata(ARGV[i + 2]), "timestamp", timestamp, "delay", 0,
        "priority", 0)
      rcall("XADD", events, "*", "event", "added", "jobId", id, "name", name)
      rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", "waiting", "jobId", id)
      added = true
    end
  end
end
if added and not isPausedOrMaxed then rcall("ZADD", KEYS[6], 0, "0") end
return found

-- Adds several jobs of one name and one set of options: what BullMQ's addStandardJob does for each, one after the other,
-- with what does not change in between looked up once. Jobs with parents, delays or priorities are not for this script.
-- Of BullMQ's deduplication it does what `{id, ttl}` asks for, with each job's own id: the key `de:<id>` is the mark that
-- the job was added. The job itself does not say so, since BullMQ does nothing at its end with a mark that ends by itself.
--
-- KEYS: wait, meta, id, active, events, marker, and the first job: a key that is not there yet, without which a server
-- whose slot moves would begin the script instead of answering TRYAGAIN
-- ARGV[1] key prefix, [2] timestamp, [3] name, [4] msgpacked options, [5] the marks' life in milliseconds (0: none), then
-- for each job: id, data, telemetry metadata (mostly empty)
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

-- The options with a job's own metadata among them.
local function with(metadata)
  if metadata == "" then return written end
  return string.sub(written, 1, -2) .. (next(options) and "," or "") .. '"tm":' .. cjson.encode(metadata) .. "}"
end

-- Whether a job of that id was added within the life of its mark; if not, it is marked now.
local function marked(id)
  local mark = prefix .. "de:" .. id
  if rcall("SET", mark, id, "PX", life, "NX") then return false end
  local first = rcall("GET", mark)
  if rcall("PTTL", mark) == -1 and rcall("EXISTS", prefix .. first) == 0 then
    -- A mark of Node's without an end, which should have gone with its job.
    rcall("DEL", prefix .. "dn:" .. id)
    rcall("SET", mark, id, "PX", life)
    return false
  end
  rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", "deduplicated", "jobId", first, "deduplicationId", id,
    "deduplicatedJobId", id)
  return true
end

local marks = life ~= "0"
-- A damaged list fails here, before a mark is set without its job.
if marks then rcall("LLEN", wait) end
local added = false
for i = 6, #ARGV, 3 do
  local id = ARGV[i]
  local jobKey = prefix .. id
  if rcall("EXISTS", jobKey) == 1 then
    rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", "duplicated", "jobId", id)
  elseif not (marks and marked(id)) then
    -- First, since it may fail (a damaged list): a hash that nobody waits for would count as stored.
    rcall(options["lifo"] and "RPUSH" or "LPUSH", wait, id)
    rcall("HMSET", jobKey, "name", name, "data", ARGV[i + 1], "opts", with(ARGV[i + 2]), "timestamp", timestamp, "delay", 0,
      "priority", 0)
    rcall("XADD", events, "*", "event", "added", "jobId", id, "name", name)
    rcall("XADD", events, "MAXLEN", "~", maxEvents, "*", "event", "waiting", "jobId", id)
    added = true
  end
end
if added and not isPausedOrMaxed then rcall("ZADD", KEYS[6], 0, "0") end

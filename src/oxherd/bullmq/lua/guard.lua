-- What keeps BullMQ's scripts from losing a job: each takes it off one list before it puts it on another, and where a
-- command in between fails, it is on none. For scripts of ours and in front of BullMQ's; `base` is the prefix of the
-- queue's keys.

local function fails(...)
  local reply = redis.pcall(...)
  return type(reply) == "table" and reply.err
end

-- Whether a field holds a whole number that each command and each sum of BullMQ's takes; a field that is missing does.
local function isWhole(field)
  if not field then return true end
  return type(field) == "string" and #field <= 15 and (field == "0" or string.match(field, "^%-?[1-9]%d*$") ~= nil)
end

-- The first of these keys on which a command fails that BullMQ's scripts use, after they have taken a job off another.
local function damagedKey(base, keys)
  for _, key in ipairs(keys) do
    local name = base .. key
    local failed
    if key == "wait" or key == "active" then failed = fails("LLEN", name)
    elseif key == "events" then failed = fails("XTRIM", name, "MAXLEN", "~", 1000000000)
    elseif key == "pc" then failed = not isWhole(redis.pcall("GET", name))
    elseif key == "meta" then
      local concurrency = redis.pcall("HGET", name, "concurrency")
      failed = concurrency and not isWhole(concurrency)
    else failed = fails("ZCARD", name) end
    if failed then return name end
  end
end

-- The delayed jobs that are due, at most a thousand, each of which can be promoted. One that cannot waits at once, without
-- a priority: the worker that begins it sets it aside.
local function soundDue(base, now)
  while true do
    local due = redis.call("ZRANGEBYSCORE", base .. "delayed", 0, (now + 1) * 0x1000 - 1, "LIMIT", 0, 1000)
    if #due == 0 then return due end
    local damaged = damagedKey(base, {"wait", "prioritized", "pc", "events", "marker"})
    if damaged then error("the delayed jobs cannot be promoted, since this key is damaged: " .. damaged, 0) end
    local sound = true
    for _, id in ipairs(due) do
      if not isWhole(redis.pcall("HGET", base .. id, "priority")) then
        redis.call("LPUSH", base .. "wait", id)
        redis.call("ZREM", base .. "delayed", id)
        sound = false
      end
    end
    if sound then return due end
  end
end

local function takeOff(base, id)
  for _, list in ipairs({"active", "wait"}) do redis.pcall("LREM", base .. list, 0, id) end
  for _, set in ipairs({"prioritized", "delayed"}) do redis.pcall("ZREM", base .. set, id) end
end

-- Moves a job that `token` runs, by a script of BullMQ. Where that fails half-way, the job goes back to `active`: its worker
-- takes its lock again, and sets it aside or moves it once what was wrong is mended.
local function keepActive(base, id, token, move)
  local lock = base .. id .. ":lock"
  local ours = redis.call("GET", lock) == token
  local moved, answer = pcall(move)
  if moved then return answer end
  local function ended(set) return type(redis.pcall("ZSCORE", base .. set, id)) == "string" end
  if ours and not redis.call("GET", lock) and redis.call("EXISTS", base .. id) == 1
    and not ended("completed") and not ended("failed") then
    takeOff(base, id)
    redis.pcall("LPUSH", base .. "active", id)
  end
  error(answer, 0)
end

-- Adds a job by a script of BullMQ. Where that fails half-way, nothing of the job stays: it would count as added.
local function addWhole(packed, add)
  local job = cmsgpack.unpack(packed)
  local base, id, mark = job[1], job[2], job[9]
  local known = redis.call("EXISTS", base .. id) == 1 or (mark and redis.call("EXISTS", mark) == 1)
  local added, answer = pcall(add)
  if added then return answer end
  if not known then
    takeOff(base, id)
    redis.pcall("DEL", base .. id)
    if mark then redis.pcall("DEL", mark) end
  end
  error(answer, 0)
end

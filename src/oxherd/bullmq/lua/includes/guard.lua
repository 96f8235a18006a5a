-- Keeps BullMQ's scripts from losing a job: they take it off one list before they put it on another, so a command that
-- fails in between leaves it on none. `base` is the prefix of the queue's keys.

local function fails(...)
  local reply = redis.pcall(...)
  return type(reply) == "table" and reply.err
end

-- Whether a field is missing, or holds an integer that BullMQ's commands and arithmetic accept.
local function isInteger(field)
  if not field then return true end
  return type(field) == "string" and #field <= 15 and (field == "0" or string.match(field, "^%-?[1-9]%d*$") ~= nil)
end

-- The first of these keys on which BullMQ's scripts would fail after taking a job off its list; nil if none.
local function damagedKey(base, keys)
  for _, key in ipairs(keys) do
    local name = base .. key
    local failed
    if key == "wait" or key == "active" then failed = fails("LLEN", name)
    elseif key == "events" then failed = fails("XTRIM", name, "MAXLEN", "~", 1000000000)
    elseif key == "pc" then failed = not isInteger(redis.pcall("GET", name))
    elseif key == "meta" then
      local concurrency = redis.pcall("HGET", name, "concurrency")
      failed = concurrency and not isInteger(concurrency)
    else failed = fails("ZCARD", name) end
    if failed then return name end
  end
end

-- The delayed jobs that are due and can be promoted, at most 1,000. One with a damaged priority goes to `wait` by itself:
-- the worker that begins it quarantines it.
local function promotableJobs(base, now)
  while true do
    local due = redis.call("ZRANGEBYSCORE", base .. "delayed", 0, (now + 1) * 0x1000 - 1, "LIMIT", 0, 1000)
    if #due == 0 then return due end
    local damaged = damagedKey(base, {"wait", "prioritized", "pc", "events", "marker"})
    if damaged then error("the delayed jobs cannot be promoted, since this key is damaged: " .. damaged, 0) end
    local allPromotable = true
    for _, id in ipairs(due) do
      if not isInteger(redis.pcall("HGET", base .. id, "priority")) then
        redis.call("LPUSH", base .. "wait", id)
        redis.call("ZREM", base .. "delayed", id)
        allPromotable = false
      end
    end
    if allPromotable then return due end
  end
end

local function removeFromLists(base, id)
  for _, list in ipairs({"active", "wait"}) do redis.pcall("LREM", base .. list, 0, id) end
  for _, set in ipairs({"prioritized", "delayed"}) do redis.pcall("ZREM", base .. set, id) end
end

-- Runs a script of BullMQ that moves a job locked by `token`. If it fails halfway, the job goes back to `active`, where its
-- worker locks it again, and quarantines it or repeats the move.
local function moveOrRestore(base, id, token, move)
  local lock = base .. id .. ":lock"
  local owned = redis.call("GET", lock) == token
  local moved, answer = pcall(move)
  if moved then return answer end
  local function ended(set) return type(redis.pcall("ZSCORE", base .. set, id)) == "string" end
  if owned and not redis.call("GET", lock) and redis.call("EXISTS", base .. id) == 1
    and not ended("completed") and not ended("failed") then
    removeFromLists(base, id)
    redis.pcall("LPUSH", base .. "active", id)
  end
  error(answer, 0)
end

-- Runs a script of BullMQ that adds a job. If it fails halfway, nothing of the job stays, since it would count as added.
-- Returns the id of the job that makes this one a duplicate; nil if it was added.
local function addOrUndo(packed, add)
  local job = cmsgpack.unpack(packed)
  local base, id, mark = job[1], job[2], job[9]
  local stored = redis.call("EXISTS", base .. id) == 1
  local known = stored or (mark and redis.call("EXISTS", mark) == 1)
  local added, answer = pcall(add)
  if added then
    if stored or (known and redis.call("EXISTS", base .. id) == 0) then return answer end
    return
  end
  if not known then
    removeFromLists(base, id)
    redis.pcall("DEL", base .. id)
    if mark then redis.pcall("DEL", mark) end
  end
  error(answer, 0)
end

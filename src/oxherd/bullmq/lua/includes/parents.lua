-- Checks parents before BullMQ's moveToFinished notifies them of a job's end, or of the removal of older jobs: it would fail
-- after taking the job off its list. Needs guard.lua.

-- The part of a key that decides its cluster slot.
local function hashTag(key) return string.match(key, "^[^{]*{([^}]+)}") or key end

local ELSEWHERE, DAMAGED = -101, -102
local PARENT_QUEUE_KEYS = {
  "wait", "active", "prioritized", "delayed", "waiting-children", "failed", "marker", "events", "meta", "pc",
}

-- Why a job's parent cannot be notified; nil if it can be, or there is none. `clustered`: the server is part of a cluster,
-- where a script must not touch another slot.
local function parentFault(jobKey, clustered)
  local fields = redis.pcall("HMGET", jobKey, "parentKey", "parent")
  if fields.err or not (fields[1] or fields[2]) then return end
  local key, queue = fields[1], string.match(fields[1] or "", "^(.*):")
  if fields[2] then
    local read, parent = pcall(cjson.decode, fields[2])
    -- BullMQ's script fails on an unreadable parent, and the job is then quarantined.
    if not read or type(parent) ~= "table" or type(parent["queueKey"]) ~= "string" then return end
    queue = parent["queueKey"]
    local named = queue .. ":" .. tostring(parent["id"])
    if clustered and hashTag(named) ~= hashTag(jobKey) then return ELSEWHERE end
    key = key or named
  end
  if clustered and hashTag(key) ~= hashTag(jobKey) then return ELSEWHERE end
  if not queue or damagedKey(queue .. ":", PARENT_QUEUE_KEYS) then return DAMAGED end
  local priority = redis.pcall("HGET", key, "priority")
  if not isInteger(priority) or fails("SCARD", key .. ":dependencies") or fails("ZCARD", key .. ":unsuccessful")
    or fails("HGET", key .. ":processed", "") or fails("HGET", key .. ":failed", "") then
    return DAMAGED
  end
end

local function detachParent(jobKey) redis.pcall("HDEL", jobKey, "parentKey", "parent") end

-- Repairs the older jobs that `keep` is about to remove: BullMQ's script would fail on a damaged one at every job's end.
local function repairExpired(base, target, keep, now, clustered)
  local old = {}
  if (keep["count"] or 0) > 0 then old = redis.call("ZREVRANGE", target, keep["count"] - 1, -1) end
  if keep["age"] then
    local before = now - keep["age"] * 1000
    for _, id in ipairs(redis.call("ZREVRANGEBYSCORE", target, before, "-inf", "LIMIT", 0, keep["limit"] or 1000)) do
      old[#old + 1] = id
    end
  end
  for _, id in ipairs(old) do
    if fails("HGET", base .. id, "parentKey") then redis.call("ZREM", target, id)
    elseif parentFault(base .. id, clustered) then detachParent(base .. id) end
  end
end

-- Ends a job locked by `opts.token`, with `detach` without its parent.
local function finish(base, id, now, target, opts, clustered, detach, move)
  local jobKey = base .. id
  if redis.call("GET", jobKey .. ":lock") == opts["token"] then
    local fault = not detach and parentFault(jobKey, clustered)
    if fault then return fault end
    if detach then detachParent(jobKey) end
    repairExpired(base, target, opts["keepJobs"], now, clustered)
  end
  return moveOrRestore(base, id, opts["token"], move)
end

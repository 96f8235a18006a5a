-- Around BullMQ's moveToFinished, which tells the parent of a job of its end, and the parents of older jobs that it removes.
-- Behind guard.lua.

-- The part of a key that decides about its cluster slot.
local function hashTag(key) return string.match(key, "^[^{]*{([^}]+)}") or key end

local ELSEWHERE, DAMAGED = -101, -102
local PARENTS_KEYS = {
  "wait", "active", "prioritized", "delayed", "waiting-children", "failed", "marker", "events", "meta", "pc",
}

-- Why the parent of a job cannot be told of its end: nil where it can be, or where there is none. `clustered` says that the
-- server is part of a cluster, where a script must not touch the keys of another slot.
local function untold(jobKey, clustered)
  local fields = redis.pcall("HMGET", jobKey, "parentKey", "parent")
  if fields.err or not (fields[1] or fields[2]) then return end
  local key, queue = fields[1], string.match(fields[1] or "", "^(.*):")
  if fields[2] then
    local read, parent = pcall(cjson.decode, fields[2])
    -- Of a parent that cannot be read, BullMQ's script fails, and its job is set aside.
    if not read or type(parent) ~= "table" or type(parent["queueKey"]) ~= "string" then return end
    queue = parent["queueKey"]
    local named = queue .. ":" .. tostring(parent["id"])
    if clustered and hashTag(named) ~= hashTag(jobKey) then return ELSEWHERE end
    key = key or named
  end
  if clustered and hashTag(key) ~= hashTag(jobKey) then return ELSEWHERE end
  if not queue or damagedKey(queue .. ":", PARENTS_KEYS) then return DAMAGED end
  local priority = redis.pcall("HGET", key, "priority")
  if not isWhole(priority) or fails("SCARD", key .. ":dependencies") or fails("ZCARD", key .. ":unsuccessful")
    or fails("HGET", key .. ":processed", "") or fails("HGET", key .. ":failed", "") then
    return DAMAGED
  end
end

local function forgetParent(jobKey) redis.pcall("HDEL", jobKey, "parentKey", "parent") end

-- Makes the older jobs fit to be removed that are too many, or too old: the script would fail on the first that is not,
-- and on it again at each end of a job.
local function soundOld(base, target, keep, now, clustered)
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
    elseif untold(base .. id, clustered) then forgetParent(base .. id) end
  end
end

-- Ends a job that `opts.token` runs. `clustered` as above; `forget`: its parent is not to be told.
local function finish(base, id, now, target, opts, clustered, forget, move)
  local jobKey = base .. id
  if redis.call("GET", jobKey .. ":lock") == opts["token"] then
    local why = not forget and untold(jobKey, clustered)
    if why then return why end
    if forget then forgetParent(jobKey) end
    soundOld(base, target, opts["keepJobs"], now, clustered)
  end
  return keepActive(base, id, opts["token"], move)
end

-- Finds jobs that make BullMQ's scripts fail: these would begin them forever, or leave them in no list. Needs guard.lua.

-- Whether a job's field `parent` is missing, or can be read.
local function isParent(field)
  if not field then return true end
  local read, parent = pcall(cjson.decode, field)
  return read and type(parent) == "table" and type(parent["queueKey"]) == "string"
    and (type(parent["id"]) == "string" or type(parent["id"]) == "number")
end

-- What is wrong with a job's hash; nil if BullMQ's scripts can read it.
local function damageOf(jobKey)
  local fields = redis.pcall("HMGET", jobKey, "priority", "parent", "atm", "ats", "stc", "ox:uncounted", "ox:beside")
  if fields.err then return "its key holds no hash" end
  for i = 3, 7 do
    if not isInteger(fields[i]) then return "a counter is not a number" end
  end
  if not isInteger(fields[1]) then return "its priority is not a whole number" end
  if not isParent(fields[2]) then return "its parent cannot be read" end
  if fails("SCARD", jobKey .. ":dependencies") or fails("ZCARD", jobKey .. ":unsuccessful") then
    return "its children cannot be read"
  end
end

-- Leaves the answers of jobs that were asked for while they were stored (`ox:asked`), for a minute: the job itself may be gone.
-- A job that ends without having been asked for takes away what an earlier job of its id has left.

-- What moveToFinished is given of a job's end: `ended` is our field `ox:end`, of the packed fields.
local function endOf(packed)
  local fields = packed ~= "" and cmsgpack.unpack(packed) or {}
  for i = 1, #fields, 2 do
    if fields[i] == "ox:end" then return fields[i + 1] end
  end
  return ""
end

local function isAsked(jobKey) return redis.pcall("HGET", jobKey, "ox:asked") == "1" end

local function leaveAnswer(base, id, state, value, ended)
  local key = base .. "answer:" .. id
  redis.call("DEL", key)
  redis.call("HSET", key, "state", state, "value", value, "end", ended)
  redis.call("PEXPIRE", key, 60000)
end

local function settleAnswer(asked, base, id, state, value, ended)
  if asked then leaveAnswer(base, id, state, value, ended) else redis.call("DEL", base .. "answer:" .. id) end
end

-- A job that holds its deduplication key no more is an operator's retry of one that has ended: BullMQ's moveToFinished would let
-- what is to follow the present holder begin beside it.
local function leaveToHolder(base, id, unique)
  if not unique then return end
  local holder = redis.pcall("GET", base .. "de:" .. unique)
  if type(holder) == "string" and holder ~= id then redis.call("HDEL", base .. id, "deid") end
end

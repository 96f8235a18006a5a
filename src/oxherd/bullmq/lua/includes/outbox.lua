-- Writes a message for another queue in the step that ends a job: both are done, or neither. `message` is its id, of 36
-- characters, and its text; "" for none. It is written first, since a damaged outbox must not keep half of an end.

local function endWithMessage(base, message, finish)
  if message == "" then return finish() end
  local outbox, id, now = base .. "outbox", string.sub(message, 1, 36), redis.call("TIME")
  local written = string.format("%.0f ", now[1] * 1000 + math.floor(now[2] / 1000))
  -- One that is there was written by a call whose reply was lost.
  local added = redis.call("HEXISTS", outbox, id) == 0
  if added then redis.call("HSET", outbox, id, written .. string.sub(message, 37)) end
  local ended, reply = pcall(finish)
  if added and not (ended and (type(reply) ~= "number" or reply >= 0)) then redis.call("HDEL", outbox, id) end
  if not ended then error(reply, 0) end
  return reply
end

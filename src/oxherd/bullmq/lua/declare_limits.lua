-- Writes limits, each where what was declared last is not what is declared now: between two changes of a declaration, what
-- `set_limits` or Node has set stays.
--
-- KEYS: meta, marker, limiter, rest
-- ARGV, for each limit: the field of meta that says what was declared, "" to write anyway; what is declared, "" for
-- nothing; how many fields of meta it is written to; then each field and its value, "" to remove it
-- Returns whether anything was written.
local function changed(declared, text)
  if declared == "" then return true end
  if (redis.call("HGET", KEYS[1], declared) or "") == text then return false end
  if text == "" then redis.call("HDEL", KEYS[1], declared) else redis.call("HSET", KEYS[1], declared, text) end
  return true
end

local written = 0
local at = 1
while at <= #ARGV do
  local last = at + 2 + 2 * tonumber(ARGV[at + 2])
  if changed(ARGV[at], ARGV[at + 1]) then
    written = 1
    for i = at + 3, last, 2 do
      if ARGV[i + 1] == "" then redis.call("HDEL", KEYS[1], ARGV[i]) else redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 1]) end
    end
  end
  at = last + 1
end
if written == 0 then return 0 end
-- A window of an hour must not outlast a change to one of a second; a rest does.
local window = tonumber(redis.call("HGET", KEYS[1], "duration") or "")
if window then
  local most = math.max(window, redis.call("PTTL", KEYS[4]))
  if redis.call("PTTL", KEYS[3]) > most then redis.call("PEXPIRE", KEYS[3], string.format("%.0f", most)) end
end
redis.call("ZADD", KEYS[2], 0, "0")
return 1

-- fetch_next for an ordered queue: begins nothing beside an event that runs, or before a retry is due. The last ARGV is the
-- key that expires when the retry is due.
if redis.call("LLEN", KEYS[2]) > 0 then
  local upcoming = redis.call("ZRANGE", KEYS[7], 0, 0, "WITHSCORES")
  local due = upcoming[2] and tonumber(upcoming[2]) / 0x1000 or 0
  return {0, 0, 0, due > tonumber(ARGV[2]) and due or 0}
end
do
  local held = redis.call("PTTL", ARGV[#ARGV])
  if held > 0 then return {0, 0, held, 0} end
end
--- @include "fetch_next"

-- BullMQ's moveJobFromActiveToWait, which loses no job to a damaged key. ARGV[4] is the hash of its key, "" for none;
-- ARGV[5] what its field `ox:runs` becomes, "" if that stays.
--- @include "includes/guard"
--- @include "includes/keyed"
local base = string.sub(ARGV[3], 1, -#ARGV[1] - 1)
local reply = moveOrRestore(base, ARGV[1], ARGV[2], function()
--- @bullmq
end)
if reply >= 0 then
  if ARGV[5] ~= "" then redis.call("HSET", ARGV[3], "ox:runs", ARGV[5]) end
  release(base, ARGV[1], ARGV[4], "0")
end
return reply

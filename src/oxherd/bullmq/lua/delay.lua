-- BullMQ's moveToDelayed, which loses no job to a damaged key, and offers none for another attempt that is to be cancelled.
-- The last two ARGV are the hash of its key, "" for none, and for how long that rests.
--- @include "includes/guard"
--- @include "includes/room"
--- @include "includes/cancel"
--- @include "includes/keyed"
if ARGV[6] ~= "1" and isCancelled(ARGV[1], ARGV[3], ARGV[4]) then return -103 end
local reply = moveOrRestore(ARGV[1], ARGV[3], ARGV[4], function()
--- @bullmq
end)
if reply == 0 then
  wakeIfRoom(ARGV[1])
  release(ARGV[1], ARGV[3], ARGV[10], ARGV[11])
end
return reply

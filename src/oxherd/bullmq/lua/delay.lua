-- BullMQ's moveToDelayed, which loses no job to a damaged key, and offers none for another attempt that is to be cancelled.
--- @include "includes/guard"
--- @include "includes/room"
--- @include "includes/cancel"
if ARGV[6] ~= "1" and isCancelled(ARGV[1], ARGV[3], ARGV[4]) then return -103 end
local reply = moveOrRestore(ARGV[1], ARGV[3], ARGV[4], function()
--- @bullmq
end)
if reply == 0 then wakeIfRoom(ARGV[1]) end
return reply

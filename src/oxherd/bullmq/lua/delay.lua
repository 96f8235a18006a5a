-- BullMQ's moveToDelayed, which loses no job to a damaged key.
--- @include "includes/guard"
--- @include "includes/room"
local reply = moveOrRestore(ARGV[1], ARGV[3], ARGV[4], function()
--- @bullmq
end)
if reply == 0 then wakeIfRoom(ARGV[1]) end
return reply

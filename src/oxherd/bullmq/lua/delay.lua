-- BullMQ's moveToDelayed, which loses no job to a damaged key.
--- @include "includes/guard"
return moveOrRestore(ARGV[1], ARGV[3], ARGV[4], function()
--- @bullmq
end)

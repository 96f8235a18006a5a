-- BullMQ's moveJobFromActiveToWait, which loses no job to a damaged key.
--- @include "includes/guard"
return moveOrRestore(string.sub(ARGV[3], 1, -#ARGV[1] - 1), ARGV[1], ARGV[2], function()
--- @bullmq
end)

-- BullMQ's retryJob, which loses no job to a damaged key.
--- @include "includes/guard"
promotableJobs(ARGV[1], ARGV[2])
return moveOrRestore(ARGV[1], ARGV[4], ARGV[5], function()
--- @bullmq
end)

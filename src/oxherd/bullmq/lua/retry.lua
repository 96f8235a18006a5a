-- BullMQ's retryJob, which loses no job to a damaged key, and offers none for another attempt that is to be cancelled.
--- @include "includes/guard"
--- @include "includes/cancel"
if isCancelled(ARGV[1], ARGV[4], ARGV[5]) then return -103 end
promotableJobs(ARGV[1], ARGV[2])
return moveOrRestore(ARGV[1], ARGV[4], ARGV[5], function()
--- @bullmq
end)

-- BullMQ's retryJob, which loses no job to a damaged key, and offers none for another attempt that is to be cancelled.
-- ARGV[7] is the hash of its key, "" for none.
--- @include "includes/guard"
--- @include "includes/cancel"
--- @include "includes/keyed"
if isCancelled(ARGV[1], ARGV[4], ARGV[5]) then return -103 end
promotableJobs(ARGV[1], ARGV[2])
local reply = moveOrRestore(ARGV[1], ARGV[4], ARGV[5], function()
--- @bullmq
end)
if reply == 0 then release(ARGV[1], ARGV[4], ARGV[7], "0") end
return reply

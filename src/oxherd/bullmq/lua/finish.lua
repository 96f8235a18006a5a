-- BullMQ's moveToFinished, which loses no job to a damaged key or to a parent that cannot be notified. The last two ARGV
-- are "1" on a cluster, and "1" to end the job without its parent.
--- @include "includes/guard"
--- @include "includes/parents"
if ARGV[6] == "1" then promotableJobs(ARGV[7], ARGV[2]) end
local opts, clustered, detach = cmsgpack.unpack(ARGV[8]), ARGV[10] == "1", ARGV[11] == "1"
return finish(ARGV[7], ARGV[1], ARGV[2], KEYS[11], opts, clustered, detach, function()
--- @bullmq
end)

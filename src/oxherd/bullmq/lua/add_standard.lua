-- BullMQ's addStandardJob, which leaves nothing behind if it fails halfway.
--- @include "includes/guard"
return addOrUndo(ARGV[1], function()
--- @bullmq
end)

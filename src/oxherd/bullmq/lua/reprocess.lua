-- BullMQ's reprocessJob, which loses no job to a damaged key. The last ARGV is the prefix of the queue's keys.
--- @include "includes/guard"
do
  local base = ARGV[#ARGV]
  local key = damagedKey(base, {"wait", "active", "prioritized", "marker", "events", "meta", "pc"})
  if key then error("the job cannot be put back, since this key is damaged: " .. key, 0) end
end
--- @bullmq

-- Takes a damaged job off the queue, unless another worker has its lock.
--
-- KEYS: active
-- ARGV[1] key prefix, [2] now, [3] id, [4] token, [5] what is wrong with the job, "" to find out
-- Returns what is wrong and whether the job has a parent, which is not notified; or 0.
--- @include "includes/guard"
--- @include "includes/damage"
local holder = redis.pcall("GET", ARGV[1] .. ARGV[3] .. ":lock")
if type(holder) == "string" and holder ~= ARGV[4] then return 0 end
local found = ARGV[5] ~= "" and ARGV[5] or damageOf(ARGV[1] .. ARGV[3])
if not found then return 0 end
return {found, quarantine(ARGV[1], ARGV[3], ARGV[2], found) and 1 or 0}

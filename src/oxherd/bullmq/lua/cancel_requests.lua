-- Finds the jobs that run and are to be cancelled, a thousand at most.
--
-- KEYS: cancels
-- ARGV[1] key prefix
-- Returns id and reason of each, flat.
--- @include "includes/cancel"
local found = {}
for _, id in ipairs(redis.call("SRANDMEMBER", KEYS[1], 1000)) do
  local reason = requestOf(ARGV[1], id)
  if reason then
    found[#found + 1] = id
    found[#found + 1] = reason
  end
end
return found

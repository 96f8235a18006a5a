-- Looks at all keys that hold something back: their limits have changed.
--
-- KEYS: keys
-- ARGV[1] key prefix
--- @include "includes/keyed"
local now = serverMs()
for _, hash in ipairs(redis.call("ZRANGE", KEYS[1], 0, -1)) do admit(ARGV[1], hash, now) end
return 0

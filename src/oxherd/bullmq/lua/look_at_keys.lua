-- Has all keys that hold something back looked at, since their limits have changed: a hundred here, the others by whoever
-- fetches next, so that the server is not held up.
--
-- KEYS: keys, marker
-- ARGV[1] key prefix, [2] "1" to go on with those that are still to be looked at
-- Returns how many are left.
--- @include "includes/keyed"
local now = serverMs()
if ARGV[2] ~= "1" then redis.call("ZUNIONSTORE", KEYS[1], 1, KEYS[1], "WEIGHTS", 0) end
admitDue(ARGV[1], now)
local left = redis.call("ZCOUNT", KEYS[1], "-inf", now)
if left > 0 then redis.call("ZADD", KEYS[2], 0, "0") end
return left

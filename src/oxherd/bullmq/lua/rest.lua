-- Lets a queue begin nothing for some milliseconds, and its workers see that.
--
-- KEYS: marker
-- ARGV[1] prefix, [2] milliseconds
--- @include "includes/rest"
rest(ARGV[1], tonumber(ARGV[2]))
redis.call("ZADD", KEYS[1], 0, "0")
return 0

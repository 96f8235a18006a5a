-- Pauses a key of an event, or resumes it.
--
-- KEYS: keys:paused, keys
-- ARGV[1] key prefix, [2] hash of the event and the key, [3] "1" to pause
--- @include "includes/keyed"
if ARGV[3] == "1" then
  redis.call("SADD", KEYS[1], ARGV[2])
else
  redis.call("SREM", KEYS[1], ARGV[2])
end
admit(ARGV[1], ARGV[2], serverMs(), MOST_AT_ONCE)
return 0

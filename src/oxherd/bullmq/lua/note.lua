-- Notes something in a job that is still the worker's. KEYS[1] the job; ARGV[1] the field, [2] its value, "" to remove it.
--- @include "includes/own_only"
if ARGV[2] == "" then
  redis.call("HDEL", KEYS[1], ARGV[1])
else
  redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
end
return 0

-- Notes that a job which expires begins. KEYS[1] the job; ARGV[1] "1", or "" to take that back.
--- @include "includes/own_only"
if ARGV[1] == "" then
  redis.call("HDEL", KEYS[1], "ox:ran")
else
  redis.call("HSET", KEYS[1], "ox:ran", ARGV[1])
end
return 0

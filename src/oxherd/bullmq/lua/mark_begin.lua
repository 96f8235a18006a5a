-- Notes how a job is begun. KEYS[1] the job; ARGV[1] the mark, "" to remove it.
--- @include "includes/own_only"
if ARGV[1] == "" then
  redis.call("HDEL", KEYS[1], "ox:begun")
else
  redis.call("HSET", KEYS[1], "ox:begun", ARGV[1])
end
return 0

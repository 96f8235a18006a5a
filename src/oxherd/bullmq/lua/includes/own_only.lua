-- Writes nothing for a job that another worker has taken, or that is gone. The last two ARGV are the worker's token and the
-- job's fence: if the lock has expired, an unchanged fence says that nobody has begun the job since.
do
  local holder = redis.call("GET", KEYS[1] .. ":lock")
  local fence = not holder and redis.call("HGET", KEYS[1], "ats")
  if holder ~= ARGV[#ARGV - 1] and fence ~= ARGV[#ARGV] then return -6 end
end

-- Finds the jobs that calls without a reply have begun: active ones locked by one of their tokens, or whose lock has expired
-- and whose `pb` names the worker, which does not run them. Locks the latter again.
--
-- KEYS: active
-- ARGV[1] key prefix, [2] worker, [3] lock in milliseconds, [4] number of tokens, these tokens, then the ids that it runs
-- Returns {id, token} of each.
local unresolved, runs, found = {}, {}, {}
local last = 4 + tonumber(ARGV[4])
for i = 5, last do unresolved[ARGV[i]] = true end
for i = last + 1, #ARGV do runs[ARGV[i]] = true end
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
  local jobKey = ARGV[1] .. id
  local holder = not runs[id] and redis.pcall("GET", jobKey .. ":lock")
  if unresolved[holder] then
    found[#found + 1] = {id, holder}
  elseif not runs[id] and not holder and redis.pcall("HGET", jobKey, "pb") == ARGV[2] then
    redis.call("SET", jobKey .. ":lock", ARGV[5], "PX", ARGV[3])
    found[#found + 1] = {id, ARGV[5]}
  end
end
return found

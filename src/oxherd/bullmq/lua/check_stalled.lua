-- BullMQ's moveStalledJobsToWait, which does nothing if it runs late, leaves out damaged jobs, and takes back stalls that do
-- not count.
--
-- ARGV[5] is the server's time in milliseconds, read just before. From ARGV[6] on: names of events that allow fewer stalls
-- than ARGV[1], each followed by its limit.
-- Returns the ids that were put back, and the ids of damaged jobs.

-- A check that was sent before an outage and runs after it would give away each job whose lock expired meanwhile, before its
-- worker can take it back.
do
  local now = redis.call("TIME")
  if now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[5]) > 1000 then return {{}, {}} end
end
--- @include "includes/guard"
--- @include "includes/damage"

-- BullMQ's script would end at the first damaged job, each time.
local damaged = {}
if redis.call("EXISTS", KEYS[4]) == 0 then
  local key = damagedKey(ARGV[2], {"wait", "meta", "marker", "events", "repeat"})
  if key then error("stalled jobs cannot be put back, since this key is damaged: " .. key, 0) end
  for _, id in ipairs(redis.call("SMEMBERS", KEYS[1])) do
    local jobKey = ARGV[2] .. id
    if redis.call("EXISTS", jobKey .. ":lock") == 0 and damageOf(jobKey) then
      redis.call("SREM", KEYS[1], id)
      damaged[#damaged + 1] = id
    end
  end
end

-- Adds a run whose worker was lost to the job's field `ox:runs`, as `runs.py` does; when it ended, nobody knows.
local function noteLost(jobKey, job)
  local ats, made, worker, began, runs = job[2], job[6] or "0", job[7], job[8], job[9] or ""
  if not (ats and worker and began and #worker <= 300 and isInteger(ats) and isInteger(made) and isInteger(began)) then return end
  local line = string.format('[%d,%s,%s,%s,null,"lost","",""]', made + 1, ats, cjson.encode(worker), began)
  if #line > 500 then return end -- the name of another's worker, which JSON escapes
  if #runs > 1536 then runs = "" end -- not ours
  runs = runs == "" and line or runs .. "\n" .. line
  local _, breaks = string.gsub(runs, "\n", "")
  while breaks > 9 or #runs > 1536 do
    runs, breaks = string.match(runs, "^[^\n]*\n(.*)$"), breaks - 1
  end
  redis.call("HSET", jobKey, "ox:runs", runs)
end

local function check()
--- @bullmq
end
local limits = {}
for i = 6, #ARGV, 2 do limits[ARGV[i]] = tonumber(ARGV[i + 1]) end
local stalled = check()

-- A job that was held had not begun. A stall beyond the limit counts only if the job had just begun alone, for the third time
-- beside others, or if three did not count.
for _, id in ipairs(stalled) do
  local jobKey = ARGV[2] .. id
  local job = redis.call("HMGET", jobKey, "stc", "ats", "ox:begun", "name", "ox:uncounted", "atm", "pb", "processedOn", "ox:runs")
  local stalls, ats = tonumber(job[1]), job[2] or ""
  local counts = job[3] ~= ats .. " held"
  if counts then noteLost(jobKey, job) end
  if counts and stalls > 1 and stalls > (limits[job[4]] or tonumber(ARGV[1])) then
    counts = job[3] == ats .. " alone" or (tonumber(job[5]) or 0) >= 3
    if job[3] == ats .. " beside" and redis.call("HINCRBY", jobKey, "ox:beside", 1) > 2 then counts = true end
    if not counts then redis.call("HINCRBY", jobKey, "ox:uncounted", 1) end
  end
  if not counts then
    redis.call("HINCRBY", jobKey, "stc", -1)
    redis.call("HDEL", jobKey, "defa")
  end
end
return {stalled, damaged}

-- Notes which schedules the code of a live worker declares, and says whose hold: among the live ones, those first seen last.
--
-- KEYS: declared, repeat
-- ARGV[1] silence in milliseconds after which a worker is gone, [2] milliseconds for which what no worker declares is
-- remembered, [3] packed: of each event {name, digest of its schedules, when that was first seen or 0, ids of its schedules}
-- Fields of `declared`, for each event: first and seen, by digest, and since and beat, the latest span of time in which there
-- was a worker, and holds, the digest that held last. An event without schedules has an empty digest, and is noted only
-- beside others of the event.
-- Returns of each {first, the digest that holds, whether the worker has to look at what is stored}; first is 0 where nothing
-- is noted.
local now = redis.call("TIME")
now = now[1] * 1000 + math.floor(now[2] / 1000)
local silence, memory = tonumber(ARGV[1]), tonumber(ARGV[2])
local events, order = {}, cmsgpack.unpack(ARGV[3])
for _, each in ipairs(order) do events[each[1]] = {first = {}, seen = {}} end
local fields = redis.call("HGETALL", KEYS[1])
for i = 1, #fields, 2 do
  local kind, digest, event = string.match(fields[i], "^(%a+):(%x*):(.+)$")
  local known, time = event and events[event], tonumber(fields[i + 1])
  if known and kind == "holds" then known.held = fields[i + 1]
  elseif known and time and (kind == "first" or kind == "seen") then known[kind][digest] = time
  elseif known and time then known[kind] = time end
end
local function text(time) return string.format("%.0f", time) end
local answers = {}
for at, each in ipairs(order) do
  local event, mine, given, known = each[1], each[2], each[3], events[each[1]]
  if mine == "" and not next(known.first) then
    answers[at] = {"0", "", 0}
  else
    local latest = 0
    for digest, time in pairs(known.first) do
      latest = math.max(latest, time)
      if digest ~= mine and math.abs(now - (known.seen[digest] or 0)) > memory then
        redis.call("HDEL", KEYS[1], "first:" .. digest .. ":" .. event, "seen:" .. digest .. ":" .. event)
        known.first[digest] = nil
      end
    end
    -- After a loss of data, the workers tell when they were first seen.
    local first = known.first[mine] or (given > 0 and given) or math.max(now, latest + 1)
    if given > 0 and given < first then first = given end
    known.first[mine], known.seen[mine] = first, now
    local unbroken = known.since and known.beat and math.abs(now - known.beat) <= silence
    redis.call("HSET", KEYS[1], "first:" .. mine .. ":" .. event, text(first), "seen:" .. mine .. ":" .. event, text(now),
      "since::" .. event, text(unbroken and known.since or now), "beat::" .. event, text(now))
    local holds = mine
    for digest, time in pairs(known.first) do
      local alive = math.abs(now - (known.seen[digest] or 0)) <= silence
      if alive and (time > known.first[holds] or (time == known.first[holds] and digest > holds)) then holds = digest end
    end
    local missing = 0
    if holds == mine and known.held ~= mine then
      -- Others have stored theirs meanwhile.
      redis.call("HSET", KEYS[1], "holds::" .. event, mine)
      missing = 1
    end
    for _, id in ipairs(each[4]) do
      if not redis.call("ZSCORE", KEYS[2], id) then missing = missing + 1 end
    end
    answers[at] = {text(first), holds, missing}
  end
end
return answers

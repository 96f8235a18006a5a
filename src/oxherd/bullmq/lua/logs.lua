-- Reads the last lines of a job's log, which any program may have written.
--
-- KEYS: the log
-- ARGV[1] how many lines, [2] how many bytes of each
local lines = redis.pcall("LRANGE", KEYS[1], -ARGV[1], -1)
if lines.err then return {} end
for i, line in ipairs(lines) do lines[i] = string.sub(line, 1, ARGV[2]) end
return lines

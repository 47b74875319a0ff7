-- Appends to a list. KEYS: the list, and the key that must exist, if any. ARGV: lifetime_ms, at_most, values.
-- Returns the list's length, -1 when the other key is gone.
if KEYS[2] and redis.call('PEXPIRE', KEYS[2], ARGV[1]) == 0 then return -1 end
local key = KEYS[1]
if redis.call('TYPE', key).ok ~= 'list' then
  if #ARGV < 3 then return 0 end
  redis.call('DEL', key)
end
for i = 3, #ARGV do redis.call('RPUSH', key, ARGV[i]) end
if tonumber(ARGV[2]) > 0 then redis.call('LTRIM', key, -tonumber(ARGV[2]), -1) end
redis.call('PEXPIRE', key, ARGV[1])
return redis.call('LLEN', key)

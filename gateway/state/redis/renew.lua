-- Begins leases' lifetimes anew. KEYS: one a lease. ARGV: holder and lifetime_ms of each.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
for i, key in ipairs(KEYS) do
  local lifetime = tonumber(ARGV[i * 2])
  redis.call('ZADD', key, string.format('%.0f', now + lifetime * 1000), ARGV[i * 2 - 1])
  if redis.call('PTTL', key) < lifetime then redis.call('PEXPIRE', key, string.format('%.0f', lifetime)) end
end
return 1

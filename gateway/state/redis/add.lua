-- Adds to a counter. KEYS: it. ARGV: amount, lifetime_ms. Returns it as text: a number of Lua's has 53 bits.
local reply = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(reply) == 'table' and reply.err then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) -- it was no counter
elseif redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])

-- Corrects what was taken. KEYS: one a claim. ARGV: four a claim, as in take.lua.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local LONGEST_MS = 300000000000

for i, key in ipairs(KEYS) do
  local at = i * 4 - 3
  local kind, first, limit, third = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if kind == 'b' then
    local level, kept = limit, redis.call('GET', key)
    if kept then
      local was, since = struct.unpack('>dd', kept)
      level = math.min(limit, was + math.max(0, now - since) / 1000000 * third)
    end
    level = math.min(limit, level - tonumber(first))
    if level >= limit then
      redis.call('DEL', key)
    else
      local ms = 3600000
      if third > 0 then ms = math.min(math.ceil((limit - level) / third * 1000), LONGEST_MS) end
      redis.call('SET', key, struct.pack('>dd', level, now), 'PX', string.format('%.0f', math.max(1, ms)))
    end
  elseif kind == 'l' then
    redis.call('ZREM', key, first)
  else
    local amount, kept = tonumber(first), redis.pcall('GET', key)
    local counted = type(kept) == 'string' and tonumber(kept)
    if counted then
      redis.call('SET', key, string.format('%.0f', math.max(0, counted + amount)), 'KEEPTTL')
    elseif amount > 0 then
      redis.call('SET', key, string.format('%.0f', amount), 'PX', string.format('%.0f', third))
    end
  end
end
return 1

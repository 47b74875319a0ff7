-- Takes all claims or none. KEYS: one a claim. ARGV: "take" or "look", then four a claim:
--   b amount burst rate_per_s | l holder limit lifetime_ms | q amount limit lifetime_ms
-- Returns allowed, retry_after_us, then three a claim: refused (1; 2 says that the holder had the lease), left, reset_us.
-- Times are microseconds of the server's own clock. If that was set back, what it said before counts as now.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local SLACK, NEVER, LONGEST_MS = 1e-6, 3600000000, 300000000000
local seen, any_refused, retry = {}, 0, 0

local function full_in(burst, rate, level)
  if rate <= 0 then return 0 end
  return (burst - level) / rate * 1000000
end

local function write_level(key, burst, rate, level)
  local ms = NEVER / 1000
  if rate > 0 then ms = math.ceil(full_in(burst, rate, level) / 1000) end
  ms = math.max(1, math.min(ms, LONGEST_MS))
  redis.call('SET', key, struct.pack('>dd', level, now), 'PX', string.format('%.0f', ms))
end

for i, key in ipairs(KEYS) do
  local at = i * 4 - 2
  local kind, first, limit, third = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local wait, state, had = 0, nil, false
  if kind == 'b' then
    local amount, level = tonumber(first), limit
    local kept = redis.call('GET', key)
    if kept then
      local was, since = struct.unpack('>dd', kept)
      if since > now then
        since = now
        write_level(key, limit, third, was)
      end
      level = math.min(limit, was + (now - since) / 1000000 * third)
    end
    local lacking = amount - level
    if amount > 0 and lacking > SLACK then
      wait = NEVER
      if third > 0 then wait = math.ceil(lacking / third * 1000000) end
    end
    state = level
  elseif kind == 'l' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
    local latest = string.format('%.0f', now + third * 1000)
    for _, holder in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. latest, '+inf')) do
      redis.call('ZADD', key, latest, holder)
    end
    state = redis.call('ZCARD', key)
    had = redis.call('ZSCORE', key, first)
    if state >= limit and not had then
      local ends = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or now + third * 1000
      wait = math.max(1000, tonumber(ends) - now)
    end
  else
    local amount = tonumber(first)
    local kept = redis.pcall('GET', key)
    state = type(kept) == 'string' and tonumber(kept) or 0
    if amount > 0 and state + amount > limit then
      local ttl = redis.call('PTTL', key)
      if ttl < 0 then ttl = third end
      wait = math.max(1000, ttl * 1000)
    end
  end
  if wait > 0 then any_refused = 1 end
  retry = math.max(retry, wait)
  seen[i] = {state, wait, had}
end

local apply = any_refused == 0 and ARGV[1] == 'take'
local reply = {1 - any_refused, retry}
for i, key in ipairs(KEYS) do
  local at = i * 4 - 2
  local kind, first, limit, third = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local state, left, reset = seen[i][1], 0, 0
  if kind == 'b' then
    local amount = tonumber(first)
    if apply and amount > 0 then
      state = state - amount
      write_level(key, limit, third, state)
    end
    left, reset = math.floor(state + SLACK), full_in(limit, third, state)
  elseif kind == 'l' then
    if apply then
      redis.call('ZADD', key, string.format('%.0f', now + third * 1000), first)
      if redis.call('PTTL', key) < third then redis.call('PEXPIRE', key, string.format('%.0f', third)) end
      state = redis.call('ZCARD', key)
    end
    local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
    left, reset = limit - state, last and tonumber(last) - now or 0
  else
    local amount = tonumber(first)
    local ttl = redis.call('PTTL', key)
    if apply and amount > 0 then
      local total = string.format('%.0f', state + amount)
      if state > 0 and ttl > 0 then
        redis.call('SET', key, total, 'KEEPTTL')
      else
        if ttl < 0 then ttl = third end
        redis.call('SET', key, total, 'PX', string.format('%.0f', math.max(1, ttl)))
      end
      state = state + amount
    end
    if ttl < 0 then ttl = third end
    left, reset = limit - state, ttl * 1000
  end
  reply[#reply + 1] = seen[i][2] > 0 and 1 or seen[i][3] and 2 or 0
  reply[#reply + 1] = left
  reply[#reply + 1] = math.max(0, reset)
end
return reply

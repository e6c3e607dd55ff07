/**
 * The script that Redis runs for the slots of running calls: a sorted set of leases by the time at which they end unless
 * they are renewed. It is one script, so that any number of processes together never take more slots than there are, for the
 * key and for its account at once. The time is Redis's own: the clocks of the processes do not matter.
 *
 * KEYS: slots. ARGV: lease ms, lease or '' (only asks), max of each. Returns whether all had a free slot, and the slots taken of each.
 */
export const TAKE_SLOTS_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, admitted, taken = ARGV[2], 1, {}
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  taken[i] = redis.call('ZCARD', key)
  if taken[i] >= tonumber(ARGV[2 + i]) then admitted = 0 end
end
if admitted == 1 and lease ~= '' then
  for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, string.format('%d', now + tonumber(ARGV[1])), lease)
    redis.call('PEXPIRE', key, ARGV[1])
    taken[i] = redis.call('ZCARD', key)
  end
end
return { admitted, unpack(taken) }
`;

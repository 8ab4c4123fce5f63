#!lua name=headrace_$VERSION
--[[
The write side of the online store, as Redis Functions. $VERSION is a hash of this text: versions live side by side.

Key map (ns is the namespace, a field names a source partition: "<topic id>/<index>"):

  <ns>:row:<fold>            hash   field -> 8-byte mark, then the resume row in MessagePack
  <ns>:cell:<fold>:<entity>  hash   field -> 8-byte big-endian position, then the state
  <ns>:pointer:<name>        hash   generation, position, digest

A write call is a link of a chain: it compares the mark and leaves a fresh one, so that of pipelined calls none
counts behind one that failed. The mark is renewed last: an error on the way leaves the old one in place, and the
calls behind it, which expect the fresh one, are refused.
]]

-- keys: the row, then the cells. args: field, expected mark, fresh mark, new row or '' to keep it, then a value per
-- cell, '' to remove it. A fresh mark of '' removes the row. Returns 1, or 0 where the mark differs and nothing was written.
local function write(keys, args)
  local field, row = args[1], args[4]
  local held = redis.call('HGET', keys[1], field)
  if not held or string.sub(held, 1, 8) ~= args[2] then
    return 0
  end
  for i = 2, #keys do
    local cell = args[i + 3]
    if cell == '' then
      redis.call('HDEL', keys[i], field)
    else
      redis.call('HSET', keys[i], field, cell)
    end
  end
  if args[3] == '' then
    redis.call('HDEL', keys[1], field)
    return 1
  end
  if row == '' then
    row = string.sub(held, 9)
  end
  redis.call('HSET', keys[1], field, args[3] .. row)
  return 1
end

-- keys: the pointer. args: generation, position, digest. Returns 1, or 0 where the held one is as great or greater.
local function advance(keys, args)
  local held = redis.call('HMGET', keys[1], 'generation', 'position')
  if held[1] then
    local generation, position = tonumber(held[1]), tonumber(held[2])
    local later = tonumber(args[1]) - generation
    if later < 0 or (later == 0 and tonumber(args[2]) <= position) then
      return 0
    end
  end
  redis.call('HSET', keys[1], 'generation', args[1], 'position', args[2], 'digest', args[3])
  return 1
end

redis.register_function('headrace_write_$VERSION', write)
redis.register_function('headrace_advance_$VERSION', advance)

-- Batches of debits. The environment names the first and last account, a prefix for references, and the items of a batch.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init()
  first, last = tonumber(os.getenv("FIRST")), tonumber(os.getenv("LAST"))
  prefix = os.getenv("PREFIX") .. "-" .. number .. "-"
  items = tonumber(os.getenv("ITEMS"))
  math.randomseed(os.time() + number)
  count = 0
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  wrk.headers["authorization"] = "Bearer " .. os.getenv("OPERATOR_KEY")
end

function request()
  local debits = {}
  for index = 1, items do
    count = count + 1
    debits[index] = '{"account":"' .. string.format("acct_%026d", math.random(first, last)) .. '","reference":"' ..
      prefix .. count .. '","model":"black-forest-labs/flux-2-klein-9b","images":1}'
  end
  return wrk.format(nil, "/v1/debits/batch", nil, '{"debits":[' .. table.concat(debits, ",") .. ']}')
end

-- One debit a request, each with a reference of its own. Arguments: first and last account, images per debit.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  first, last = tonumber(args[1]), tonumber(args[2])
  prefix = args[3] .. "-" .. number .. "-"
  math.randomseed(os.time() + number)
  count = 0
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  wrk.headers["authorization"] = "Bearer " .. os.getenv("OPERATOR_KEY")
end

function request()
  count = count + 1
  local account = string.format("acct_%026d", math.random(first, last))
  return wrk.format(nil, "/v1/debits", nil, '{"account":"' .. account .. '","reference":"' .. prefix .. count ..
    '","model":"black-forest-labs/flux-2-klein-9b","images":1}')
end

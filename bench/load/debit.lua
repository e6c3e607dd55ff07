-- One debit a request, each with a reference of its own. The environment names the first and last account and a prefix.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init()
  first, last = tonumber(os.getenv("FIRST")), tonumber(os.getenv("LAST"))
  prefix = os.getenv("PREFIX") .. "-" .. number .. "-"
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

-- A hold and its capture. The environment names the first and last account and a prefix for references. Which connection an
-- answer came over is not known here, so a capture is sent by whichever connection is free next.
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
  held = {}
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  wrk.headers["authorization"] = "Bearer " .. os.getenv("OPERATOR_KEY")
end

function request()
  local hold = table.remove(held)
  if hold then return wrk.format(nil, "/v1/holds/" .. hold .. "/capture", nil, "{}") end
  count = count + 1
  local account = string.format("acct_%026d", math.random(first, last))
  return wrk.format(nil, "/v1/holds", nil, '{"account":"' .. account .. '","reference":"' .. prefix .. count ..
    '","model":"black-forest-labs/flux-2-klein-9b","images":1}')
end

function response(status, headers, body)
  if status == 201 then table.insert(held, string.match(body, '"id":"(hold_[^"]+)"')) end
end

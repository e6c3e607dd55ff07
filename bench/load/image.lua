-- Image calls. The environment names the keys (separated by spaces), the body of a call, and how long a connection pauses
-- before each call on average (0: not at all). Random pauses of many connections make calls arrive as if by chance.
function init()
  keys = {}
  for key in string.gmatch(os.getenv("KEYS"), "%S+") do table.insert(keys, key) end
  pause = tonumber(os.getenv("PAUSE_MS"))
  body = os.getenv("BODY")
  math.randomseed(os.time())
  if pause > 0 then
    delay = function() return math.floor(-pause * math.log(1 - math.random()) + 0.5) end
  end
end

function request()
  local headers = {}
  headers["content-type"] = "application/json"
  headers["authorization"] = "Bearer " .. keys[math.random(#keys)]
  return wrk.format("POST", "/v1/images/generations", headers, body)
end

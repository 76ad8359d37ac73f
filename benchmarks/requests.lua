-- One kind of request, and what came of it as JSON. Arguments: method, path, token, body, seed.
-- In the body, %d is a number that no other request has.
local made, seed, template, fixed = 0, 0, nil, nil

function init(arguments)
  local method, path, token, body = arguments[1], arguments[2], arguments[3], arguments[4]
  seed = tonumber(arguments[5]) * 10000000
  wrk.method, wrk.path = method, path
  if token ~= "" then wrk.headers["Authorization"] = "Bearer " .. token end
  if body ~= "" then
    wrk.headers["Content-Type"] = "application/json"
    if body:find("%%d") then template = body else wrk.body = body end
  end
  fixed = wrk.format()
end

function request()
  if not template then return fixed end
  made = made + 1
  return wrk.format(nil, nil, nil, template:format(seed + made))
end

function done(summary, latency, requests)
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end

-- Sends the signed requests of a file in turn; they are separated by zero bytes.
--   wrk … URL -- FILE

local requests, turn = {}, 0

function init(args)
    local file = assert(io.open(args[1], "rb"))
    for request in file:read("*a"):gmatch("%Z+") do
        requests[#requests + 1] = request
    end
    file:close()
end

function request()
    turn = turn % #requests + 1
    return requests[turn]
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"us":%d,"bytes":%d,"refused":%d,"broken":%d,"late":%d,"p50_ms":%.2f,"p99_ms":%.2f}\n',
        summary.requests, summary.duration, summary.bytes, errors.status,
        errors.connect + errors.read + errors.write, errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end

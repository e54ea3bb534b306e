-- ids: function ids, version v1. Written by Clover.

-- Says which configuration was read, at the start and at each reload. Line by line: Snort's own words shall not wait
-- in a buffer either.
io.stdout:setvbuf('line')
print('clover: generation 3')

HOME_NET = 'any'
EXTERNAL_NET = 'any'

stream = { }
stream_tcp = { }
http_inspect = { }
binder =
{
    { when = { proto = 'tcp', ports = '9180', role = 'server' }, use = { type = 'http_inspect' } },
}

ips =
{
    -- Rules of the author's own, and no others.
    enable_builtin_rules = false,
    include = '/run/clover/sdc/w/ids/conf/000003/local.rules',
}

-- Of a request that raises many alerts, the usual limit would write three.
event_queue = { max_queue = 64, log = 64 }
alert_json =
{
    file = true,
    limit = 0,
    fields = 'seconds timestamp pkt_num gid sid rev priority src_ap dst_ap dir msg b64_data',
}

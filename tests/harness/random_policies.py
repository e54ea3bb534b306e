"""Hypothesis strategies for Istio documents: mostly sensible, with the values mixed in that break things."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTS = st.sampled_from(["lb", "server", "cache", "lb.default", "waf.default.svc.cluster.local", "shadow"])
ODD_TEXT = st.one_of(
    st.sampled_from(
        ["", "*", "%", "100%", "%%", "%REQ(x)%", "a b", "a\nb", "é", ":path", "host", "/a?b", "\x00", "%FOO%"]
    ),
    st.text(max_size=12),
)
NAMES = st.one_of(st.sampled_from(["x-a", "x-b", "Host", ":authority", "content-type"]), ODD_TEXT)
VALUES = st.one_of(
    st.sampled_from(["1", "%DOWNSTREAM_REMOTE_ADDRESS%", "%START_TIME%", "%REQ(x-a?:path)%", "a%%b", "%RESP(x)%:1"]),
    ODD_TEXT,
)
PATHS = st.one_of(st.sampled_from(["/", "/a", "/a/b", "/é"]), ODD_TEXT)
REGEXES = st.one_of(
    st.sampled_from(
        [".*", "/a/([0-9]+)", "[a-z]+", "(a|b)*", "(?i)x", "*", "(?=a)", "(", "a{1001}", "(a{1,100}){1,9}"]
    ),
    st.text(alphabet="a()[]*+?{}|\\1,.^$-é", max_size=10),
)
DURATIONS = st.sampled_from(
    ["1s", "1.5s", "100ms", "1h10m", "1ms", "0s", "0.0001s", "-1s", "5", "87600h", "1e9s", "9999999h"]
)
SHARES = st.one_of(st.sampled_from([0, 1, 50, 100, 101, -1, 0.5, 1e-9, 2**31]), st.integers(0, 100))
COUNTS = st.sampled_from([0, 1, 5, 1024, 2**31 - 1, 2**31, -1])


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


def one_of(**fields):
    return st.one_of([value.map(lambda found, name=name: {name: found}) for name, value in fields.items()])


MATCHES = st.one_of(one_of(exact=PATHS, prefix=PATHS, regex=REGEXES), st.just({}), optional(exact=PATHS, prefix=PATHS))
HTTP_MATCHES = optional(
    name=st.sampled_from(["m1", "m2"]),
    uri=MATCHES,
    ignoreUriCase=st.booleans(),
    scheme=MATCHES,
    method=MATCHES,
    authority=MATCHES,
    headers=st.dictionaries(NAMES, MATCHES, max_size=2),
    withoutHeaders=st.dictionaries(NAMES, MATCHES, max_size=2),
    queryParams=st.dictionaries(NAMES, MATCHES, max_size=2),
    port=st.sampled_from([9180, 8080, 80, 0]),
    sourceLabels=st.sampled_from([{}, {"app": "waf"}, {"version": "v1"}, {"app": "nobody"}]),
    sourceNamespace=st.sampled_from(["", "default", "other"]),
    gateways=st.lists(st.sampled_from(["mesh", "sdc-gateway", "default/sdc-gateway", "nope"]), max_size=1),
)
DESTINATIONS = st.fixed_dictionaries(
    {"host": HOSTS},
    optional={"subset": st.sampled_from(["v1", "v2", ""]), "port": st.just({"number": 9180})},
)
CHANGES = optional(
    set=st.dictionaries(NAMES, VALUES, max_size=2),
    add=st.dictionaries(NAMES, VALUES, max_size=2),
    remove=st.lists(NAMES, max_size=2),
)
HEADERS = optional(request=CHANGES, response=CHANGES)
ROUTES = st.lists(
    st.fixed_dictionaries(
        {"destination": DESTINATIONS},
        optional={"weight": st.one_of(st.integers(0, 100), COUNTS), "headers": HEADERS},
    ),
    min_size=1,
    max_size=3,
)
PERCENT = optional(value=SHARES)
RULE_PARTS = {
    "name": st.sampled_from(["r1", "r2"]),
    "match": st.lists(HTTP_MATCHES, max_size=2),
    "rewrite": st.one_of(
        optional(uri=PATHS, authority=VALUES),
        st.fixed_dictionaries(
            {
                "uriRegexRewrite": st.fixed_dictionaries(
                    {"match": REGEXES, "rewrite": st.sampled_from(["/\\1", "/", "\\", "\\9"])}
                )
            }
        ),
    ),
    "headers": HEADERS,
    "timeout": DURATIONS,
    "retries": optional(
        attempts=COUNTS,
        perTryTimeout=DURATIONS,
        retryOn=st.sampled_from(["", "5xx", "5xx, 503", "503", "gatway-error", "reset,0", "retriable-status-codes"]),
        backoff=DURATIONS,
        retryIgnorePreviousHosts=st.booleans(),
    ),
    "fault": optional(
        delay=optional(fixedDelay=DURATIONS, percentage=PERCENT, percent=SHARES),
        abort=optional(
            httpStatus=st.sampled_from([200, 503, 599, 600, 99]),
            grpcStatus=st.sampled_from(["OK", "UNAVAILABLE", "14"]),
            percentage=PERCENT,
        ),
    ),
    "mirror": DESTINATIONS,
    "mirrorPercentage": PERCENT,
    "mirrors": st.lists(
        st.fixed_dictionaries({"destination": DESTINATIONS}, optional={"percentage": PERCENT}), max_size=2
    ),
    "corsPolicy": optional(
        allowOrigins=st.lists(MATCHES, max_size=2),
        allowMethods=st.lists(NAMES, max_size=2),
        allowHeaders=st.lists(NAMES, max_size=2),
        exposeHeaders=st.lists(NAMES, max_size=2),
        maxAge=DURATIONS,
        allowCredentials=st.booleans(),
        unmatchedPreflights=st.sampled_from(["UNSPECIFIED", "FORWARD", "IGNORE"]),
    ),
}
REDIRECTS = optional(
    uri=PATHS,
    prefixRewrite=PATHS,
    authority=VALUES,
    port=st.sampled_from([80, 443, 8443, 0]),
    derivePort=st.sampled_from(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
    scheme=st.sampled_from(["http", "https", "ftp"]),
    redirectCode=st.sampled_from([301, 302, 303, 307, 308, 304]),
)
RESPONSES = st.fixed_dictionaries(
    {"status": st.sampled_from([200, 204, 503, 599, 199, 600])},
    optional={"body": one_of(string=st.text(max_size=5), bytes=st.sampled_from(["aGk=", "", "?"]))},
)


def some(parts, most):
    """Return dictionaries with a few of the parts, so that many come out sound."""
    names = st.lists(st.sampled_from(sorted(parts)), max_size=most, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: parts[name] for name in chosen}))


def _with(first, second):
    return st.builds(lambda one, other: one | other, first, second)


RULES = st.one_of(
    _with(some(RULE_PARTS, 3), ROUTES.map(lambda route: {"route": route})),
    _with(some(RULE_PARTS, 3), ROUTES.map(lambda route: {"route": route})),
    _with(some(RULE_PARTS, 1), REDIRECTS.map(lambda redirect: {"redirect": redirect})),
    _with(some(RULE_PARTS, 1), RESPONSES.map(lambda response: {"directResponse": response})),
)


def document(kind, name, spec):
    return st.builds(
        lambda name, spec: {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        },
        name,
        spec,
    )


VIRTUAL_SERVICES = document(
    "VirtualService",
    st.sampled_from(["lb", "server", "sdc"]),
    st.one_of(
        st.fixed_dictionaries(
            {"hosts": st.lists(HOSTS, min_size=1, max_size=2), "http": st.lists(RULES, min_size=1, max_size=3)}
        ),
        st.fixed_dictionaries(
            {
                "hosts": st.lists(
                    st.sampled_from(["*", "a.com", "*.a.com", "A.com", "a.com:80"]), min_size=1, max_size=2
                ),
                "gateways": st.just(["sdc-gateway"]),
                "http": st.lists(RULES, min_size=1, max_size=3),
            }
        ),
    ),
)
POLICY_PARTS = {
    "loadBalancer": st.one_of(
        st.sampled_from(["RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "PASSTHROUGH", "UNSPECIFIED"]).map(
            lambda simple: {"simple": simple}
        ),
        st.builds(
            lambda key, size: {"consistentHash": key | size},
            st.one_of(
                NAMES.map(lambda name: {"httpHeaderName": name}),
                NAMES.map(lambda name: {"httpQueryParameterName": name}),
                st.just({"useSourceIp": True}),
                st.builds(lambda name, ttl: {"httpCookie": {"name": name, "ttl": ttl}}, NAMES, DURATIONS),
            ),
            st.one_of(
                st.just({}),
                COUNTS.map(lambda size: {"ringHash": {"minimumRingSize": size}}),
                st.sampled_from([2, 3, 4, 65537, 5000011, 1]).map(lambda size: {"maglev": {"tableSize": size}}),
            ),
        ),
    ),
    "connectionPool": optional(
        tcp=optional(
            maxConnections=COUNTS,
            connectTimeout=DURATIONS,
            maxConnectionDuration=DURATIONS,
            tcpKeepalive=optional(probes=COUNTS, time=DURATIONS, interval=DURATIONS),
        ),
        http=optional(
            http1MaxPendingRequests=COUNTS,
            http2MaxRequests=COUNTS,
            maxRequestsPerConnection=COUNTS,
            maxRetries=COUNTS,
            idleTimeout=DURATIONS,
            maxConcurrentStreams=COUNTS,
            h2UpgradePolicy=st.sampled_from(["DEFAULT", "UPGRADE"]),
            useClientProtocol=st.booleans(),
        ),
    ),
    "outlierDetection": optional(
        consecutive5xxErrors=COUNTS,
        consecutiveGatewayErrors=COUNTS,
        consecutiveLocalOriginFailures=COUNTS,
        splitExternalLocalOriginErrors=st.booleans(),
        interval=DURATIONS,
        baseEjectionTime=DURATIONS,
        maxEjectionPercent=SHARES,
        minHealthPercent=SHARES,
    ),
}
DESTINATION_RULES = document(
    "DestinationRule",
    st.sampled_from(["lb", "server"]),
    st.builds(
        lambda host, policy, subset: {
            "host": host,
            "trafficPolicy": policy,
            "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": subset}, {"name": "v2"}],
        },
        st.sampled_from(["lb", "server"]),
        some(POLICY_PARTS, 2),
        some(POLICY_PARTS, 1),
    ),
)
GATEWAYS = document(
    "Gateway",
    st.sampled_from(["g", "sdc-gateway"]),
    st.fixed_dictionaries(
        {
            "selector": st.sampled_from([{}, {"istio": "ingressgateway"}, {"istio": "x"}]),
            "servers": st.lists(
                st.fixed_dictionaries(
                    {
                        "port": st.fixed_dictionaries(
                            {
                                "number": st.sampled_from([8080, 8081, 0]),
                                "protocol": st.sampled_from(["HTTP", "http", "HTTPS"]),
                                "name": st.sampled_from(["http", "http-2"]),
                            }
                        ),
                        "hosts": st.lists(
                            st.sampled_from(["*", "a.com", "./b.com", "*/*", "A.com", "*.a.com"]),
                            min_size=1,
                            max_size=2,
                        ),
                    },
                    optional={"bind": st.sampled_from(["0.0.0.0", "127.0.0.1", "::1", "", "x"])},
                ),
                min_size=1,
                max_size=2,
            ),
        }
    ),
)
DOCUMENTS = st.lists(st.one_of(VIRTUAL_SERVICES, DESTINATION_RULES, GATEWAYS), min_size=1, max_size=3)

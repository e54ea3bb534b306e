"""Hypothesis strategies for Istio documents: sensible ones, and ones with the values mixed in that break things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from harness.random_tls import client_tls, peer_authentications, server_tls

Strategy = st.SearchStrategy[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Where the single values of a document come from."""

    names: Strategy
    texts: Strategy
    paths: Strategy
    regexes: Strategy
    durations: Strategy
    shares: Strategy
    counts: Strategy
    statuses: Strategy
    ports: Strategy
    gateways: Strategy


SOUND_VALUES = Values(
    names=st.sampled_from(["x-a", "x-b", "content-type", "X-C"]),
    texts=st.sampled_from(
        ["1", "%DOWNSTREAM_REMOTE_ADDRESS%", "%START_TIME%", "%REQ(x-a?:path)%", "a%%b", "", "é", "a b"]
    ),
    paths=st.sampled_from(["/", "/a", "/a/b", "/é", "/a?b"]),
    regexes=st.sampled_from([".*", "/a/([0-9]+)", "[a-z]+", "(a|b)*", "(?i)x", "(a{1,100}){1,9}", "\\pL", "^/$"]),
    durations=st.sampled_from(["1s", "1.5s", "100ms", "1h10m", "1ms", "1.0005s", "87600h"]),
    shares=st.sampled_from([0, 1, 50, 100]) | st.integers(0, 100),
    counts=st.sampled_from([0, 1, 5, 1000]),
    statuses=st.sampled_from([200, 204, 503, 599]),
    ports=st.sampled_from([8080, 8081]),
    gateways=st.sampled_from(["mesh", "sdc-gateway", "default/sdc-gateway"]),
)
_ODD = st.sampled_from(["", "*", "%", "100%", "%REQ(x)%", "a b", "a\nb", ":path", "host", "\x00", "%FOO%"]) | st.text(
    max_size=9
)
ODD_VALUES = Values(
    names=SOUND_VALUES.names | _ODD,
    texts=SOUND_VALUES.texts | _ODD,
    paths=SOUND_VALUES.paths | _ODD,
    regexes=SOUND_VALUES.regexes
    | st.sampled_from(["*", "(?=a)", "(", "a{1001}"])
    | st.text(alphabet="a()[]*+?{}|\\1,.^$-é", max_size=10),
    durations=SOUND_VALUES.durations | st.sampled_from(["0s", "0.0001s", "-1s", "5", "1e9s", "9999999h", ""]),
    shares=SOUND_VALUES.shares | st.sampled_from([101, -1, 0.5, 1e-9, 2**31]),
    counts=SOUND_VALUES.counts | st.sampled_from([2**31 - 1, 2**31, -1]),
    statuses=SOUND_VALUES.statuses | st.sampled_from([199, 600, 0]),
    ports=SOUND_VALUES.ports | st.sampled_from([0, 65536]),
    gateways=SOUND_VALUES.gateways | st.just("nope"),
)
_RATES = st.sampled_from([1e-9, 0.5, 1, 2.5, 1e9])
_HOSTS = st.sampled_from(["lb", "server", "cache", "waf.default.svc.cluster.local", "shadow"])


def documents(values: Values) -> Strategy:
    """Return lists of documents that are applied together."""
    kinds = st.one_of(
        virtual_services(values),
        virtual_services(values),
        destination_rules(values),
        gateways(values),
        peer_authentications(),
    )
    return _quiet(_Quiet(st.lists(kinds, min_size=1, max_size=3).map(_each_name_once)))


def _each_name_once(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(one["kind"], one["metadata"]["name"]): one for one in found}.values())


class _Quiet:
    """Keeps Hypothesis from printing a strategy, which takes it seconds here."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def __repr__(self) -> str:
        return "..."


@st.composite
def _quiet(draw: st.DrawFn, hidden: _Quiet) -> Any:
    return draw(hidden.strategy)


def virtual_services(values: Values) -> Strategy:
    """Return VirtualServices for services of the sample mesh, or for hosts at its gateway; each name has its hosts."""
    rules = st.lists(_rules(values), min_size=1, max_size=3)
    in_mesh = [
        _document(
            "VirtualService",
            name,
            st.fixed_dictionaries(
                {"hosts": st.just(hosts), "http": rules},
                optional={"tcp": st.lists(_connections(values, {}), max_size=3), "tls": _tls(values, hosts)},
            ),
        )
        for name, hosts in (("lb", ["lb"]), ("server", ["server", "cache"]), ("waf", ["waf.default.svc.cluster.local"]))
    ]
    outside = st.fixed_dictionaries(
        {
            "hosts": st.sampled_from([["*"], ["a.com", "*.a.com"], ["A.com"]]),
            "gateways": st.just(["sdc-gateway"]),
            "http": rules,
        }
    )
    return st.one_of(*in_mesh, _document("VirtualService", "sdc", outside))


def _connections(values: Values, more: dict[str, Strategy]) -> Strategy:
    subnets = st.sampled_from(["10.96.0.0/16", "10.96.0.2", "0.0.0.0/0", "10.96.1.1/16", "2001:db8::/32"])
    match = st.fixed_dictionaries(
        more,
        optional={
            "destinationSubnets": st.lists(subnets, max_size=3),
            "port": values.ports,
            "sourceLabels": st.sampled_from([{"app": "waf"}, {}]),
            "sourceNamespace": st.sampled_from(["default", "other"]),
            "gateways": st.sampled_from([["mesh"], ["other"]]),
        },
    )
    share = st.fixed_dictionaries(
        {"destination": st.fixed_dictionaries({"host": _HOSTS})}, optional={"weight": st.integers(0, 3)}
    )
    return st.fixed_dictionaries(
        {"route": st.lists(share, min_size=1, max_size=2), "match": st.lists(match, min_size=len(more), max_size=2)}
    )


def _tls(values: Values, hosts: list[str]) -> Strategy:
    names = st.lists(st.sampled_from([f"{host}.default.svc.cluster.local" for host in hosts] + ["*"]), min_size=1)
    return st.lists(_connections(values, {"sniHosts": names}), max_size=3)


def destination_rules(values: Values) -> Strategy:
    """Return DestinationRules for services of the sample mesh."""

    def spec(host: str) -> Strategy:
        version = {"name": st.just("v1"), "labels": st.just({"version": "v1"}), "trafficPolicy": _policies(values, 1)}
        return st.fixed_dictionaries(
            {
                "host": st.just(host),
                "trafficPolicy": _policies(values, 2),
                "subsets": st.tuples(st.fixed_dictionaries(version), st.just({"name": "v2"})).map(list),
            },
            optional={"workloadSelector": st.sampled_from([{}, {"matchLabels": {"app": "waf"}}])},
        )

    return st.one_of([_document("DestinationRule", host, spec(host)) for host in ("lb", "server")])


def gateways(values: Values) -> Strategy:
    """Return Gateways beside, or instead of, the sample mesh's."""
    port = st.fixed_dictionaries(
        {
            "number": values.ports,
            "protocol": st.sampled_from(["HTTP", "http", "HTTPS", "TLS", "TCP"]),
            "name": st.text("abc", min_size=1),
        }
    )
    server = st.fixed_dictionaries(
        {"port": port, "hosts": st.sampled_from([["*"], ["a.com"], ["./b.com", "*.a.com"], ["*/*"]])},
        optional={"bind": st.sampled_from(["127.0.0.1", "::1", ""]), "tls": server_tls()},
    )
    spec = st.fixed_dictionaries(
        {
            "selector": st.sampled_from([{}, {"istio": "ingressgateway"}, {"istio": "x"}]),
            "servers": st.lists(server, min_size=1, max_size=2),
        }
    )
    return st.one_of([_document("Gateway", name, spec) for name in ("other", "sdc-gateway")])


def _document(kind: str, name: str, spec: Strategy) -> Strategy:
    start = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}}
    return spec.map(lambda found: start | {"spec": found})


def _optional(**fields: Strategy) -> Strategy:
    return st.fixed_dictionaries({}, optional=fields)


def _one_of(**fields: Strategy) -> Strategy:
    return st.one_of([value.map(lambda found, name=name: {name: found}) for name, value in fields.items()])


def _some(parts: dict[str, Strategy], most: int) -> Strategy:
    """Return dictionaries with a few of the parts."""
    names = st.lists(st.sampled_from(sorted(parts)), max_size=most, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: parts[name] for name in chosen}))


def _joined(*parts: Strategy) -> Strategy:
    return st.tuples(*parts).map(lambda found: {name: value for part in found for name, value in part.items()})


def _rules(values: Values) -> Strategy:
    matches = st.lists(_matches(values), max_size=2).map(lambda found: {"match": found} if found else {})
    common = st.one_of(st.just({}), st.sampled_from(["r1", "r2"]).map(lambda name: {"name": name}))
    onward = _some(_onward_parts(values), 3)
    answered = _some({"headers": _headers(values), "corsPolicy": _cors(values)}, 2)
    return st.one_of(
        _joined(common, matches, onward, _routes(values)),
        _joined(common, matches, onward, _routes(values)),
        _joined(common, matches, answered, _redirects(values)),
        _joined(common, matches, answered, _responses(values)),
    )


def _matches(values: Values) -> Strategy:
    test = _one_of(exact=values.paths, regex=values.regexes, prefix=values.paths)
    perhaps = test | st.just({})
    return _optional(
        name=st.sampled_from(["m1", "m2"]),
        uri=test,
        ignoreUriCase=st.booleans(),
        scheme=test,
        method=test,
        authority=test,
        headers=st.dictionaries(values.names, perhaps, max_size=2),
        withoutHeaders=st.dictionaries(values.names, perhaps, max_size=2),
        queryParams=st.dictionaries(values.names, perhaps, max_size=2),
        port=st.sampled_from([9180, 8080, 80]),
        sourceLabels=st.sampled_from([{}, {"app": "waf"}, {"version": "v1"}, {"app": "nobody"}]),
        sourceNamespace=st.sampled_from(["", "default", "other"]),
    )


def _destinations() -> Strategy:
    versioned = st.sampled_from([{"host": "lb", "subset": "v1"}, {"host": "lb", "subset": "v2"}])
    plain = st.fixed_dictionaries({"host": _HOSTS, "port": st.just({"number": 9180})})
    return versioned | plain


def _routes(values: Values) -> Strategy:
    share = st.fixed_dictionaries(
        {"destination": _destinations(), "weight": values.shares}, optional={"headers": _headers(values)}
    )
    return st.lists(share, min_size=1, max_size=3).map(lambda found: {"route": found})


def _headers(values: Values) -> Strategy:
    changes = _optional(
        set=st.dictionaries(values.names, values.texts, max_size=2),
        add=st.dictionaries(values.names, values.texts, max_size=2),
        remove=st.lists(values.names, max_size=2),
    )
    return _optional(request=changes, response=changes)


def _onward_parts(values: Values) -> dict[str, Strategy]:
    percent = _optional(value=values.shares)
    mirrors = st.fixed_dictionaries({"destination": _destinations()}, optional={"percentage": percent})
    substitution = st.sampled_from(["/", "/\\0", "\\\\"])
    return {
        "rewrite": st.one_of(
            _one_of(uri=values.paths, authority=values.paths),
            st.fixed_dictionaries({"match": values.regexes, "rewrite": substitution}).map(
                lambda found: {"uriRegexRewrite": found}
            ),
        ),
        "headers": _headers(values),
        "timeout": values.durations,
        "retries": _optional(
            attempts=values.counts,
            perTryTimeout=values.durations,
            retryOn=st.sampled_from(["", "5xx", "5xx, 503", "503", "retriable-status-codes"]),
            backoff=values.durations,
            retryIgnorePreviousHosts=st.booleans(),
        ),
        "fault": _one_of(
            delay=st.fixed_dictionaries({"fixedDelay": values.durations}, optional={"percentage": percent}),
            abort=_joined(
                _one_of(httpStatus=values.statuses, grpcStatus=st.sampled_from(["OK", "UNAVAILABLE"])),
                _optional(percentage=percent),
            ),
        ),
        "mirrors": st.lists(mirrors, max_size=2),
        "corsPolicy": _cors(values),
    }


def _cors(values: Values) -> Strategy:
    return _optional(
        allowOrigins=st.lists(_one_of(exact=values.paths, prefix=values.paths, regex=values.regexes), max_size=2),
        allowMethods=st.lists(values.names, max_size=2),
        allowHeaders=st.lists(values.names, max_size=2),
        exposeHeaders=st.lists(values.names, max_size=2),
        maxAge=values.durations,
        allowCredentials=st.booleans(),
        unmatchedPreflights=st.sampled_from(["UNSPECIFIED", "FORWARD", "IGNORE"]),
    )


def _redirects(values: Values) -> Strategy:
    ports = _one_of(
        port=st.sampled_from([80, 443, 8443]),
        derivePort=st.sampled_from(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
    )
    target = _one_of(uri=values.paths, prefixRewrite=values.paths)
    more = _optional(
        authority=values.paths,
        scheme=st.sampled_from(["http", "https"]),
        redirectCode=st.sampled_from([301, 302, 303, 307, 308]),
    )
    return _joined(target, st.just({}) | ports, more).map(lambda found: {"redirect": found})


def _responses(values: Values) -> Strategy:
    body = _one_of(string=st.text(max_size=5), bytes=st.sampled_from(["aGk=", ""]))
    return st.fixed_dictionaries({"status": values.statuses}, optional={"body": body}).map(
        lambda found: {"directResponse": found}
    )


def _policies(values: Values, most: int) -> Strategy:
    attribute = st.fixed_dictionaries({"name": values.names}, optional={"value": values.texts})
    warmup = st.fixed_dictionaries(
        {"duration": values.durations}, optional={"minimumPercent": values.shares, "aggression": _RATES}
    )
    key = _one_of(
        httpHeaderName=values.names,
        httpQueryParameterName=values.names,
        useSourceIp=st.just(True),
        httpCookie=st.fixed_dictionaries(
            {"name": values.names}, optional={"ttl": values.durations, "attributes": st.lists(attribute, max_size=2)}
        ),
    )
    table = st.sampled_from([{}, {"maglev": {"tableSize": 65537}}, {"maglev": {}}]) | values.counts.map(
        lambda size: {"ringHash": {"minimumRingSize": size}}
    )
    parts = {
        "loadBalancer": _joined(
            _one_of(
                simple=st.sampled_from(["RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "UNSPECIFIED"]),
                consistentHash=_joined(key, table),
            ),
            _optional(warmup=warmup, warmupDurationSecs=values.durations),
        ),
        "connectionPool": _optional(
            tcp=_optional(
                maxConnections=values.counts,
                connectTimeout=values.durations,
                maxConnectionDuration=values.durations,
                idleTimeout=values.durations | st.just("0s"),
                tcpKeepalive=_optional(probes=values.counts, time=st.just("60s"), interval=st.just("1s")),
            ),
            http=_optional(
                http1MaxPendingRequests=values.counts,
                http2MaxRequests=values.counts,
                maxRequestsPerConnection=values.counts,
                maxRetries=values.counts,
                idleTimeout=values.durations,
                maxConcurrentStreams=values.counts,
                h2UpgradePolicy=st.sampled_from(["DEFAULT", "UPGRADE"]),
                useClientProtocol=st.booleans(),
                http2KeepAlive=st.fixed_dictionaries({"interval": values.durations, "timeout": values.durations}),
            ),
        ),
        "outlierDetection": _optional(
            consecutive5xxErrors=values.counts,
            consecutiveGatewayErrors=values.counts,
            consecutiveLocalOriginFailures=values.counts,
            splitExternalLocalOriginErrors=st.booleans(),
            interval=values.durations,
            baseEjectionTime=values.durations,
            maxEjectionPercent=values.shares,
            minHealthPercent=values.shares,
            outlierDetectionHttpErrorCodes=st.lists(values.statuses, max_size=3),
            consecutiveErrors=values.counts,
        ),
        "tls": client_tls(),
        "proxyProtocol": _optional(version=st.sampled_from(["V1", "V2"])),
        "retryBudget": _optional(percent=values.shares, minRetryConcurrency=values.counts),
    }
    return _some(parts, most)


SOUND = documents(SOUND_VALUES)
ODD = documents(ODD_VALUES)

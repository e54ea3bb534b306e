"""Which rule of the Gateway API has a request: asked of the translated table and of the specification's own words."""

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from clover.mesh import ir
from clover.mesh.translate import proxies_from
from harness import policies

PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c"])
MATCHES = st.fixed_dictionaries(
    {
        "path": st.one_of(
            st.fixed_dictionaries({"type": st.sampled_from(["Exact", "PathPrefix"]), "value": PATHS}),
            st.just({"type": "RegularExpression", "value": "/a.*"}),
        ),
    },
    optional={
        "method": st.sampled_from(["GET", "POST"]),
        "headers": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["X-A", "x-a", "x-b"]), "value": st.sampled_from("12")}),
            max_size=3,
        ),
        "queryParams": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("qr"), "value": st.sampled_from("12")}), max_size=2
        ),
    },
)
HOSTS = st.lists(st.sampled_from(["a.x.com", "b.x.com", "*.x.com", "*.com"]), max_size=2, unique=True)
RULES = st.lists(st.lists(MATCHES, max_size=3), min_size=1, max_size=3)
ROUTES = st.lists(st.tuples(HOSTS, RULES), min_size=1, max_size=3)
REQUESTS = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["a.x.com", "b.x.com", "c.x.com", "y.com", "z.net"]),
        "path": PATHS,
        "method": st.sampled_from(["GET", "POST"]),
        "headers": st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.sampled_from("12")),
        "query": st.dictionaries(st.sampled_from("qr"), st.sampled_from("12")),
    }
)
LISTENERS = st.lists(st.sampled_from([None, "*.x.com", "a.x.com"]), min_size=1, max_size=3, unique=True)


def documents(listeners, routes):
    yield {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web"},
        "spec": {
            "gatewayClassName": "istio",
            "listeners": [
                {"name": f"l{index}", "port": 8090, "protocol": "HTTP"} | ({"hostname": host} if host else {})
                for index, host in enumerate(listeners)
            ],
        },
    }
    for index, (hostnames, rules) in enumerate(routes):
        yield {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": f"r{index}"},
            "spec": {
                "parentRefs": [{"name": "web"}],
                "hostnames": hostnames,
                "rules": [
                    {"name": f"n{number}", "matches": matches, "backendRefs": [{"name": "server", "port": 9180}]}
                    for number, matches in enumerate(rules)
                ],
            },
        }


def table_of(listeners, routes):
    """Return the table of port 8090."""
    text = "\n---\n".join(map(json.dumps, documents(listeners, routes)))
    (gateway,) = (proxy for proxy in proxies_from(policies.REGISTRY, policies.read(text)) if proxy.node == "gateway")
    (table,) = gateway.tables
    return table


# What Envoy does with a table.


def taken_by(table, request):
    """Return the name of the route that has the request; empty: none."""
    hosts = {domain: host for host in table.virtual_hosts for domain in host.domains}
    best = max((domain for domain in hosts if covers(domain, request["host"])), key=rank_of_host, default=None)
    for route in hosts[best].routes if best else ():
        if holds(route.match, request):
            return route.name
    return ""


def holds(match, request):
    seen = {**request["headers"], ":method": request["method"], ":authority": request["host"]}
    return (
        (match.path is None or text_holds(match.path, request["path"]))
        and all(test.name in seen and text_holds(test.match, seen[test.name]) for test in match.headers)
        and all(
            test.name in request["query"] and text_holds(test.match, request["query"][test.name])
            for test in match.query
        )
    )


def text_holds(test, value):
    match test.kind:
        case ir.MatchKind.EXACT:
            return value == test.value
        case ir.MatchKind.PATH_PREFIX:
            return value == test.value or value.startswith(f"{test.value}/")
        case ir.MatchKind.REGEX:
            return re.fullmatch(test.value, value) is not None
    raise AssertionError(test.kind)


# What the specification says.


def covers(pattern, host):
    return pattern == "*" or pattern == host or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def rank_of_host(pattern):
    return (not pattern.startswith("*"), len(pattern))


def decided(listeners, routes, request):
    """Return the name of the rule that has the request, by the words of the specification."""
    serving = [host or "*" for host in listeners if covers(host or "*", request["host"])]
    if not serving:
        return ""
    candidates = []
    for index, (hostnames, rules) in enumerate(routes):
        mine = [host for host in hostnames or ["*"] if covers(host, request["host"])]
        if not mine:
            continue
        host = max(mine, key=rank_of_host)
        for number, matches in enumerate(rules):
            for place, match in enumerate(matches or [{}]):
                if said_holds(match, request):
                    candidates.append((preference(host, match), -index, -number, -place, f"r{index}.n{number}"))
    return max(candidates)[-1] if candidates else ""


def said_holds(match, request):
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    wanted, found = path["value"], request["path"]
    segments = [part for part in wanted.split("/") if part]
    fits = {
        "Exact": found == wanted,
        "PathPrefix": found.split("/")[1:][: len(segments)] == segments,
        "RegularExpression": re.fullmatch(wanted, found) is not None,
    }[path["type"]]
    return (
        fits
        and match.get("method", request["method"]) == request["method"]
        and all(request["headers"].get(name) == value for name, value in firsts(match, "headers").items())
        and all(request["query"].get(name) == value for name, value in firsts(match, "queryParams").items())
    )


def firsts(match, field):
    """Return what counts of a list of tests: of several for one name the first."""
    found = {}
    for test in match.get(field, ()):
        found.setdefault(test["name"].lower(), test["value"])
    return found


def preference(host, match):
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    kind = {"Exact": 2, "PathPrefix": 1, "RegularExpression": 0}[path["type"]]
    length = len(path["value"].rstrip("/")) if kind == 1 else len(path["value"])
    return (
        rank_of_host(host),
        kind,
        length,
        "method" in match,
        len(firsts(match, "headers")),
        len(firsts(match, "queryParams")),
    )


@settings(max_examples=300)
@given(LISTENERS, ROUTES, REQUESTS)
def test_the_table_gives_a_request_to_the_rule_that_the_specification_gives_it_to(listeners, routes, request):
    assert taken_by(table_of(listeners, routes), request) == decided(listeners, routes, request)


EVERYTHING = {
    "host": "a.x.com",
    "path": "/a",
    "method": "GET",
    "headers": {"x-a": "1", "x-b": "1", "x-c": "1"},
    "query": {"q": "1", "r": "1"},
}


@st.composite
def asked_of(draw, names):
    return [{"name": name, "value": "1"} for name in draw(st.lists(st.sampled_from(names), max_size=3))]


FITTING = st.fixed_dictionaries(
    {"headers": asked_of(["x-a", "X-A", "x-b", "x-c"]), "queryParams": asked_of(["q", "r"])},
    optional={"method": st.just("GET"), "path": st.just({"type": "Exact", "value": "/a"})},
)


FITTING_RULES = st.lists(st.lists(FITTING, min_size=1, max_size=2), min_size=1, max_size=3)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.just([]), FITTING_RULES), max_size=4))
def test_of_rules_that_all_fit_the_one_that_asks_most_has_the_request(routes):
    assert taken_by(table_of([None], routes), EVERYTHING) == decided([None], routes, EVERYTHING)


@given(LISTENERS, ROUTES)
def test_what_is_told_does_not_depend_on_the_order_of_the_documents(listeners, routes):
    found = policies.read("\n---\n".join(map(json.dumps, documents(listeners, routes))))

    assert proxies_from(policies.REGISTRY, found) == proxies_from(policies.REGISTRY, found[::-1])

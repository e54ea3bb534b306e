"""What is said about Gateways, HTTPRoutes and GRPCRoutes of the Gateway API."""

import json

import pytest

from clover.errors import DocumentError
from harness import policies

API = "gateway.networking.k8s.io/v1"


def document(kind, name, spec, **metadata):
    """Return a document as text; JSON is YAML."""
    head = {"apiVersion": API, "kind": kind, "metadata": {"name": name, **metadata}}
    return json.dumps(head | {"spec": spec})


def gateway(*listeners, name="web", cls="istio", **more):
    given = [{"name": f"l{index}", "port": 8090, "protocol": "HTTP"} | one for index, one in enumerate(listeners)]
    return document("Gateway", name, {"gatewayClassName": cls, "listeners": given, **more})


def route(*rules, parents=({"name": "web"},), kind="HTTPRoute", name="r", hostnames=None, **metadata):
    spec = {"parentRefs": list(parents), "rules": list(rules) or [TO_SERVER]}
    return document(kind, name, spec | ({"hostnames": hostnames} if hostnames else {}), **metadata)


def service(name, **more):
    return {"group": "", "kind": "Service", "name": name, **more}


TO_SERVER = {"backendRefs": [{"name": "server", "port": 9180}]}
WEB = gateway({})


def said(*documents, about=""):
    """Return code, severity, field and message of all problems of the documents."""
    try:
        found = policies.problems("\n---\n".join(documents))
    except DocumentError as error:
        return [(problem.code, problem.what.partition("': ")[2]) for problem in error.problems]
    return [
        (problem.code, problem.severity, problem.what.partition("': ")[2])
        for problem in found
        if not problem.where.startswith("AuthorizationPolicy") and about in problem.what
    ]


def codes(*documents):
    return [found[:2] for found in said(*documents)]


def test_a_sound_gateway_and_its_route_are_not_talked_about():
    assert said(WEB, route()) == []


def test_what_the_api_server_writes_into_a_saved_file_is_left_out_of_account():
    saved = json.loads(route()) | {"status": {"parents": []}}

    assert said(WEB, json.dumps(saved)) == []


def test_a_gateway_of_another_class_is_somebody_elses():
    (found,) = said(gateway({"protocol": "HTTPS"}, cls="nginx"))

    assert found == ("CLV4350", "warning", "the class 'nginx' is not Clover's, so no port is opened")


@pytest.mark.parametrize("protocol", ["TLS", "TCP", "UDP", "http"])
def test_listeners_speak_http_plain_or_in_tls(protocol):
    assert codes(gateway({"protocol": protocol})) == [("CLV4103", "error")]


def test_listeners_are_told_apart_by_name_and_host():
    assert codes(gateway({"name": "a"}, {"name": "a", "hostname": "a.com"})) == [("CLV4352", "error")]
    assert codes(gateway({}, {})) == [("CLV4352", "error")]
    assert codes(gateway({"hostname": "a.com"}, {"hostname": "*.a.com"}, {}, {"port": 8091})) == []


def test_a_port_is_one_gateways():
    assert codes(gateway({"port": 8080})) == [("CLV4351", "error")]
    assert codes(gateway({"port": 8080}, addresses=[{"value": "127.0.0.2"}])) == []
    assert codes(gateway({"port": 8080}, addresses=[{"value": "0.0.0.0"}])) == [("CLV4351", "error")]
    (found,) = said(WEB, gateway({}, name="other"))
    assert found[2] == ("port 8090 at '127.0.0.1' is already opened by Gateway.gateway.networking.k8s.io 'default/web'")


def test_ports_are_opened_at_ipv4_addresses():
    assert codes(gateway({}, addresses=[{"type": "Hostname", "value": "a"}])) == [("CLV4103", "error")]
    assert codes(gateway({}, addresses=[{"value": "a.b"}])) == [("CLV4104", "error")]


def test_a_namespace_has_no_label_but_its_name():
    labels = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}

    assert codes(gateway({"allowedRoutes": {"namespaces": labels}})) == [("CLV4361", "warning")]


@pytest.mark.parametrize(
    ("parent", "listener", "code"),
    [
        ({"name": "wab"}, {}, "CLV4353"),
        ({"name": "web", "namespace": "other"}, {}, "CLV4353"),
        ({"name": "web", "sectionName": "l9"}, {}, "CLV4354"),
        ({"name": "web", "port": 1}, {}, "CLV4354"),
        ({"name": "web"}, {"hostname": "other.com"}, "CLV4354"),
        ({"name": "web"}, {"allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}, "CLV4354"),
        (service("servr"), {}, "CLV4353"),
        (service("server", port=1), {}, "CLV4354"),
    ],
)
def test_what_kubernetes_would_write_into_a_status_is_a_warning(parent, listener, code):
    found = codes(gateway(listener), route(parents=[parent], hostnames=None if "group" in parent else ["a.com"]))

    assert found == [(code, "warning")]


def test_a_listener_takes_routes_of_the_namespaces_that_it_allows():
    outside = route(parents=[{"name": "web", "namespace": "default"}], namespace="other")
    grant = document(
        "ReferenceGrant",
        "g",
        {
            "from": [{"group": API[:-3], "kind": "HTTPRoute", "namespace": "other"}],
            "to": [{"group": "", "kind": "Service"}],
        },
    )
    outside = outside.replace('"name": "server"', '"name": "server", "namespace": "default"')

    def allowing(**namespaces):
        return codes(gateway({"allowedRoutes": {"namespaces": namespaces}}), outside, grant)

    def named(*names, operator="In"):
        expression = {"key": "kubernetes.io/metadata.name", "operator": operator, "values": list(names)}
        return {"matchExpressions": [expression]}

    assert allowing(**{"from": "Same"}) == [("CLV4354", "warning")]
    assert allowing(**{"from": "All"}) == []
    assert allowing(**{"from": "Selector", "selector": named("other")}) == []
    assert allowing(**{"from": "Selector", "selector": named("default")}) == [("CLV4354", "warning")]
    assert allowing(**{"from": "Selector", "selector": named("default", operator="NotIn")}) == []


def test_a_route_without_a_parent_is_obeyed_by_nobody():
    assert codes(route(parents=[])) == [("CLV4353", "warning")]


def test_a_parent_of_another_kind_is_refused():
    assert codes(route(parents=[{"kind": "Service", "name": "server"}])) == [("CLV4103", "error")]


def test_a_parent_is_named_once_for_each_part_of_it():
    twice = [{"name": "web"}, {"name": "web", "sectionName": "l0"}]
    parts = [{"name": "web", "sectionName": "l0"}, {"name": "web", "sectionName": "l1"}]

    assert codes(WEB, route(parents=twice)) == [("CLV4355", "error")]
    assert codes(gateway({}, {"port": 8091}), route(parents=parts)) == []


def test_a_virtual_service_and_a_route_do_not_decide_about_one_service():
    both = (policies.virtual_service("[{route: [{destination: {host: server}}]}]", host="server", name="vs"),)

    (found,) = said(*both, route(parents=[service("server", port=9180)]))

    assert found == (
        "CLV4356",
        "error",
        "requests to service 'server' are already decided by VirtualService 'default/vs'",
    )


def test_an_http_route_and_a_grpc_route_do_not_decide_about_one_host():
    def both(*hosts):
        first = route(hostnames=[hosts[0]], name="h")
        return codes(WEB, first, route({}, kind="GRPCRoute", hostnames=[hosts[1]], name="g"))

    assert ("CLV4356", "error") in both("a.com", "*.com")
    assert ("CLV4356", "error") not in both("a.com", "b.com")


@pytest.mark.parametrize(
    ("rule", "code", "severity"),
    [
        ({"backendRefs": [{"name": "servr", "port": 9180}]}, "CLV4357", "warning"),
        ({"backendRefs": [{"name": "server", "port": 1}]}, "CLV4357", "warning"),
        ({"backendRefs": [{"name": "server", "port": 9180, "weight": 0}]}, "CLV4357", "warning"),
        ({}, "CLV4357", "warning"),
        ({"backendRefs": [{"name": "server", "namespace": "other", "port": 9180}]}, "CLV4358", "error"),
        ({"backendRefs": [{"name": "b", "kind": "Bucket", "group": "s.example.com"}]}, "CLV4103", "error"),
    ],
)
def test_a_backend_that_is_not_there_is_told_and_one_of_another_namespace_needs_a_grant(rule, code, severity):
    assert codes(WEB, route(rule)) == [(code, severity)]


def step(kind, **value):
    field = {"URLRewrite": "urlRewrite", "CORS": "cors"}.get(kind, kind[0].lower() + kind[1:])
    return {"type": kind, field: value}


PREFIX = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"filters": [step("URLRewrite", hostname="a.b"), step("URLRewrite", hostname="a.c")]}, "CLV4359"),
        ({"filters": [step("RequestRedirect", port=1)]}, "CLV4359"),
        (
            {"filters": [step("URLRewrite", **PREFIX)], "matches": [{"path": {"type": "Exact", "value": "/a"}}]},
            "CLV4360",
        ),
        ({"filters": [step("URLRewrite", **PREFIX)], "matches": [{}, {}]}, "CLV4360"),
        ({"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}, "CLV4211"),
        ({"matches": [{"headers": [{"name": "a", "type": "RegularExpression", "value": "("}]}]}, "CLV4211"),
        ({"matches": [{"queryParams": [{"name": "a", "type": "RegularExpression", "value": "("}]}]}, "CLV4211"),
        ({"filters": [step("ResponseHeaderModifier", remove=["HOST"])]}, "CLV4212"),
    ],
)
def test_what_envoy_would_refuse_or_not_do_is_refused_before(rule, code):
    assert codes(WEB, route(TO_SERVER | rule)) == [(code, "error")]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"filters": [{"type": "ExtensionRef", "extensionRef": {"group": "a", "kind": "b", "name": "c"}}]}, "CLV4103"),
        ({"retry": {"attempts": 1}}, "CLV4103"),
        ({"sessionPersistence": {"type": "Cookie"}}, "CLV4103"),
        ({"backendRefs": [{"name": "server", "port": 1, "filters": [step("URLRewrite", hostname="a")]}]}, "CLV4103"),
        ({"matches": [{"path": {"value": "a"}}]}, "CLV4104"),
        ({"matches": [{"path": {"value": "/a//b"}}]}, "CLV4104"),
        ({"matches": [{"path": {"value": "/a/.."}}]}, "CLV4104"),
        ({"matches": [{"path": {"value": "/a b"}}]}, "CLV4104"),
        ({"filters": [{"type": "CORS"}]}, "CLV4104"),
        ({"filters": [step("CORS", allowOrigins=["*", "https://a.b"])]}, "CLV4104"),
        ({"filters": [step("RequestMirror", backendRef={"name": "server"})]}, "CLV4104"),
        ({"timeouts": {"request": "1s", "backendRequest": "2s"}}, "CLV4104"),
        ({"timeouts": {"request": "1.5s"}}, "CLV4104"),
        ({"backendRefs": [{"name": "server", "port": 1, "weight": 1_000_001}]}, "CLV4104"),
        ({"matchs": []}, "CLV4102"),
    ],
)
def test_what_the_schema_does_not_allow_or_clover_does_not_do_is_refused_by_name(rule, code):
    assert code in [found[0] for found in said(WEB, route(TO_SERVER | rule))]


def test_matches_of_all_rules_together_are_limited():
    rules = [TO_SERVER | {"matches": [{"path": {"value": f"/{number}"}} for number in range(64)]} for _ in range(3)]

    assert said(WEB, route(*rules)) == [("CLV4104", "the rules have more than 128 matches")]


@pytest.mark.parametrize(
    "method",
    [{}, {"service": "a/b"}, {"method": "a.b"}],
)
def test_a_grpc_method_is_named_as_grpc_names_things(method):
    found = said(WEB, route({"matches": [{"method": method}]}, kind="GRPCRoute"))

    assert [one[0] for one in found] == ["CLV4104"]


def test_grpc_to_a_port_that_is_not_named_for_it_is_told():
    assert codes(WEB, route(kind="GRPCRoute")) == [("CLV4362", "warning")]
    assert codes(route(kind="GRPCRoute", parents=[service("server", port=9180)])) == []


def test_expressions_for_a_service_and_a_method_fit_together():
    long = {"type": "RegularExpression", "service": "(a{1,1000}){1,9}", "method": "(b{1,1000}){1,9}"}

    found = said(WEB, route({"matches": [{"method": long}]}, kind="GRPCRoute"))

    assert "CLV4211" in [one[0] for one in found]


def test_hostnames_of_a_route_for_a_service_are_not_looked_at():
    assert codes(route(parents=[service("server")], hostnames=["a.com"])) == [("CLV4361", "warning")]

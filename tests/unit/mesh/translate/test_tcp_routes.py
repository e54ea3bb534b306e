"""Rules for TCP and TLS into routes of connections."""

import dataclasses

import pytest

from clover.mesh import ir
from clover.mesh.istio.policies import policies_from
from clover.mesh.istio.registry import ServicePort
from clover.mesh.translate.routes import Place
from clover.mesh.translate.tcp_routes import tcp_routes_from, tls_routes_from
from harness import policies
from harness.policies import REGISTRY, with_ports

TLS_PORT = with_ports(ServicePort(number=443, name="tls-x"), service="lb")
TCP_PORT = with_ports(ServicePort(number=9180, name="tcp-x"), service="lb")


def service(spec, *, host="lb"):
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: x}}
spec: {{hosts: ['{host}'], {spec}}}
"""


def to(*hosts):
    return f"route: [{', '.join(f'{{destination: {{host: {host}}}}}' for host in hosts)}]"


def port_to_lb(text, registry=REGISTRY, seen_from="waf"):
    proxy = policies.proxies(text, registry=registry)[seen_from]
    (port,) = (one for one in proxy.outbound if one.service == "lb.default.svc.cluster.local")
    return port


def clusters(port):
    return [[share.cluster.split("|")[3].split(".")[0] for share in route.to] for route in port.tcp]


def said(text, registry=REGISTRY):
    return [
        (problem.code, problem.severity, problem.what.partition(": ")[2])
        for problem in policies.problems(text, registry=registry)
    ]


def test_a_rule_takes_the_connections_to_its_host_by_weight():
    text = service(
        "tcp: [{route: [{destination: {host: lb, subset: v1}, weight: 80}, {destination: {host: cache}, weight: 20}]}]"
    )
    port = port_to_lb(text, TCP_PORT)

    assert said(text, TCP_PORT) == []
    (route,) = port.tcp
    assert [(share.cluster, share.weight) for share in route.to] == [
        ("outbound|9180|v1|lb.default.svc.cluster.local", 80),
        ("outbound|9180||cache.default.svc.cluster.local", 20),
    ]
    assert (port.cluster, route.destinations, route.sources) == ("", (), ("VirtualService/default/x",))


def test_the_first_rule_that_can_hold_decides():
    rules = (
        f"{{match: [{{port: 1}}], {to('waf')}}}, {{match: [{{sourceLabels: {{app: lb}}}}], {to('waf')}}},"
        f"{{match: [{{sourceNamespace: default, gateways: [mesh]}}], {to('cache')}}}, {{{to('server')}}}"
    )

    assert clusters(port_to_lb(service(f"tcp: [{rules}]"), TCP_PORT)) == [["cache"]]


@pytest.mark.parametrize(
    ("subnets", "taken"),
    [
        ("10.96.0.0/16", True),
        ("10.96.0.2", True),
        ("'0.0.0.0/0'", True),
        ("10.97.0.0/16", False),
        ("'2001:db8::/32'", False),
    ],
)
def test_networks_are_decided_where_there_is_one_address(subnets, taken):
    port = port_to_lb(service(f"tcp: [{{match: [{{destinationSubnets: [{subnets}]}}], {to('cache')}}}]"), TCP_PORT)

    assert clusters(port) == ([["cache"]] if taken else [])
    assert bool(port.cluster) is not taken


def test_networks_are_left_to_the_proxy_where_there_are_several_addresses():
    text = service(
        f"tcp: [{{match: [{{destinationSubnets: [10.1.2.3/8, 10.0.0.0/8]}}], {to('cache')}}},"
        f" {{match: [{{destinationSubnets: [10.0.0.0/8, 11.0.0.0/8]}}], {to('waf')}}}, {{{to('lb')}}}, {{{to('waf')}}}]"
    )
    routes = _routes(tcp_routes_from, text)

    assert [route.destinations for route in routes] == [("10.0.0.0/8",), ("11.0.0.0/8",), ()]


def test_names_that_a_client_says_choose_the_cluster_and_an_unknown_one_has_none():
    text = service(
        f"tls: [{{match: [{{sniHosts: [A.example, '*.b.example']}}], {to('cache')}}}, "
        f"{{match: [{{sniHosts: [a.example, c.example]}}], {to('waf')}}}]",
        host="*.example",
    )
    first, second = _routes(tls_routes_from, text)

    assert (first.server_names, first.tls, second.server_names) == (("a.example", "*.b.example"), True, ("c.example",))


def test_a_star_is_every_name_and_none():
    routes = _routes(tls_routes_from, service(f"tls: [{{match: [{{sniHosts: ['*', a.b]}}], {to('cache')}}}]", host="*"))

    assert [route.server_names for route in routes] == [("a.b",), ()]


def test_rules_for_tls_are_for_ports_named_so_and_rules_for_tcp_for_the_others():
    text = service(
        f"tls: [{{match: [{{sniHosts: [lb.default.svc.cluster.local]}}], route: [{{destination: {{host: cache,"
        f" port: {{number: 9180}}}}}}]}}], tcp: [{{{to('server')}}}]"
    )
    port = port_to_lb(text, TLS_PORT)

    assert clusters(port) == [["cache"]]
    assert port.cluster == ""
    assert clusters(port_to_lb(text, TCP_PORT)) == [["server"]]


def test_a_gateway_asks_neither_for_the_destination_nor_for_the_source():
    text = service(
        f"gateways: [sdc-gateway], tcp: [{{match: [{{port: 8080, destinationSubnets: [1.2.3.4],"
        f" sourceLabels: {{app: x}}}}], {to('cache')}}}]"
    )
    (route,) = _routes(tcp_routes_from, text, gateway=True)

    assert route.destinations == ()


@pytest.mark.parametrize(
    ("spec", "code", "what"),
    [
        (f"tls: [{{match: [{{sniHosts: [other.example]}}], {to('cache')}}}]", "CLV4330", "'other.example' is none of"),
        (f"tls: [{{match: [{{sniHosts: ['*x.example']}}], {to('cache')}}}]", "CLV4330", "neither a host name nor"),
        (f"tcp: [{{match: [{{destinationSubnets: [10.0.0.0/40]}}], {to('cache')}}}]", "CLV4332", "'10.0.0.0/40' is"),
        (f"tcp: [{{match: [{{destinationSubnets: ['fe80::1%eth0']}}], {to('cache')}}}]", "CLV4332", "neither an IP"),
        (f"tcp: [{{match: [{{gateways: [nowhere]}}], {to('cache')}}}]", "CLV4208", "not bound to 'nowhere'"),
        (f"tcp: [{{match: [{{port: 1}}], {to('cache')}}}]", "CLV4214", "on port 1"),
        (f"tcp: [{{{to('nowhere')}}}]", "CLV4201", "there is no service 'nowhere'"),
        (f"tcp: [{{{to('cache', 'lb')}}}]", "CLV4205", "are all 0"),
        (f"tls: [{{match: [{{sniHosts: [lb.default.svc.cluster.local]}}], {to('cache')}}}]", "CLV4331", "'tls-...'"),
        (
            f"gateways: [sdc-gateway], tcp: [{{match: [{{sourceLabels: {{a: b}}}}], {to('cache')}}}]",
            "CLV4220",
            "does not ask for 'sourceLabels'",
        ),
        (f"gateways: [sdc-gateway], tcp: [{{{to('cache')}}}]", "CLV4331", "none of the ports that"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(spec, code, what):
    found = said(service(spec))

    assert [message for its, _, message in found if its == code and what in message] != [], found


def _routes(routes_from, text, *, gateway=False):
    (resource,) = policies.read(text)
    name = "gateway" if gateway else "waf"
    place = Place(
        registry=REGISTRY,
        policies=policies_from(policies.applied(text)),
        workload=next(one for one in REGISTRY.workloads if one.name == name),
        port=8080 if gateway else 9180,
    )
    if gateway:
        place = dataclasses.replace(place, gateways=frozenset({"default/sdc-gateway"}))
    routes = routes_from(resource, place)
    assert all(isinstance(route, ir.TcpRoute) for route in routes)
    return routes

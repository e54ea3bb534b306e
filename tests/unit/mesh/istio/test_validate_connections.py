"""Two resources speak of the same connections: nothing that somebody wrote is left out without a word."""

from __future__ import annotations

import pytest

from harness import policies

GATEWAY = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{servers}]
"""
SERVICE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: ["{host}"]
  gateways: [{gateways}]
  {rules}
"""
TO = "route: [{destination: {host: server.default.svc.cluster.local}}]"
ENDED, THROUGH = "tls: {mode: SIMPLE, credentialName: shop}", "tls: {mode: PASSTHROUGH}"


def server(host: str, tls: str = THROUGH, *, protocol: str = "TLS", name: str = "one", number: int = 8443) -> str:
    port = f"{{number: {number}, name: {name}, protocol: {protocol}}}"
    return f'{{port: {port}, hosts: ["{host}"], {tls}}}'


def gateway(*servers: str, name: str = "edge", namespace: str = "default") -> str:
    return GATEWAY.format(name=name, namespace=namespace, servers=", ".join(servers))


def names(host: str, name: str, gateways: str = "edge", *, namespace: str = "default", only: str = "") -> str:
    match = f'{{sniHosts: ["{host}"]{only}}}'
    rules = f"tls: [{{match: [{match}], {TO}}}]"
    return SERVICE.format(name=name, namespace=namespace, host=host, gateways=gateways, rules=rules)


def unread(name: str, gateways: str = "edge") -> str:
    rules = f"tcp: [{{{TO}}}]"
    return SERVICE.format(name=name, namespace="default", host="a.com", gateways=gateways, rules=rules)


def said(text: str) -> list[tuple[str, str, str, str]]:
    """Return code, severity, resource and field of what is said."""
    return [(one.code, one.severity, one.what.split(":")[0], one.what.split("'")[1]) for one in policies.problems(text)]


@pytest.mark.parametrize("tls", [ENDED, THROUGH])
def test_two_gateways_of_several_namespaces_share_no_name_of_tls(tls):
    one = gateway(server("a.com", tls)) + names("a.com", "v")
    two = gateway(server("a.com", tls), namespace="other") + names("b.com", "w", namespace="other")

    found = said(one + two)

    assert ("CLV4209", "error", "Gateway other/edge", "spec.servers[0].hosts") in found


@pytest.mark.parametrize("tls", [ENDED, THROUGH])
def test_one_gateway_shares_no_name_of_tls_among_namespaces(tls):
    one, two = server("default/a.com", tls), server("other/a.com", tls, name="two")

    problems = policies.problems(gateway(one, two))

    (twice,) = (one for one in problems if one.code == "CLV4209")
    assert twice.what.endswith("'spec.servers[1].hosts': port 8443 already serves 'a.com' by Gateway 'default/edge'")
    assert twice.istio == "IST0145"


def test_one_name_leads_to_one_place_whatever_several_virtual_services_say():
    text = gateway(server("*.com")) + names("a.com", "v") + names("a.com", "w")

    (problem,) = policies.problems(text)

    assert (problem.code, problem.severity) == ("CLV4390", "warning")
    assert problem.what == (
        "VirtualService default/w: field 'spec.tls[0].match[0].sniHosts': has no effect for 'a.com' at port 8443: "
        "VirtualService 'default/v' already decides about these connections"
    )


def test_what_is_told_is_what_the_gateway_does():
    text = gateway(server("*.com")) + names("a.com", "v") + names("a.com", "w")

    (port,) = (port for port in policies.proxies(text)["gateway"].gateways if port.port == 8443)

    assert [route.sources for one in port.servers for route in one.tcp] == [("VirtualService/default/v",)]


def test_the_order_in_which_they_came_decides_nothing():
    text = names("a.com", "w") + gateway(server("*.com")) + names("a.com", "v")

    assert said(text) == [("CLV4390", "warning", "VirtualService default/w", "spec.tls[0].match[0].sniHosts")]


def test_a_name_whose_tls_another_gateway_ends_is_not_passed_through():
    text = gateway(server("a.com", ENDED, protocol="HTTPS"), name="a") + gateway(server("*.com")) + names("a.com", "v")

    assert said(text) == [("CLV4390", "warning", "VirtualService default/v", "spec.tls[0].match[0].sniHosts")]


def test_a_name_that_is_passed_through_is_not_served_by_a_later_gateway():
    text = gateway(server("a.com", ENDED, protocol="HTTPS"), name="z") + gateway(server("*.com")) + names("a.com", "v")

    assert said(text) == [("CLV4390", "warning", "Gateway default/z", "spec.servers[0].hosts")]


def test_of_several_virtual_services_for_what_is_not_read_one_decides():
    text = gateway(server("a.com", ENDED)) + unread("v") + unread("w")

    assert said(text) == [("CLV4390", "warning", "VirtualService default/w", "spec.tcp[0]")]


@pytest.mark.parametrize(
    "text",
    [
        gateway(server("*.com")) + names("a.com", "v") + names("b.com", "w"),
        gateway(server("*.com")) + names("a.com", "v") + names("*.com", "w"),
        gateway(server("*.com"), server("*.com", name="two", number=9443))
        + names("a.com", "v", only=", port: 8443")
        + names("a.com", "w", only=", port: 9443"),
        gateway(server("a.com"), name="a") + gateway(server("*.com")) + names("a.com", "v", "a, edge"),
        gateway(server("a.com", ENDED), server("b.com", ENDED, protocol="HTTPS", name="two")) + unread("v"),
    ],
)
def test_what_is_told_apart_is_not_talked_about(text):
    assert said(text) == []

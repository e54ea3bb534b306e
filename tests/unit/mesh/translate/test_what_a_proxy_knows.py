"""Sidecars: which services, listeners and clusters each proxy is told of."""

from dataclasses import replace

import pytest

from clover.errors import errors_only
from clover.mesh import ir
from clover.mesh.istio.registry import Registry, Service, ServicePort
from clover.spec.mesh_config import MeshConfig, OutboundTrafficPolicy
from harness import policies

HTTP = ServicePort(number=80, name="http")
BOTH = policies.with_ports(HTTP, registry=policies.with_ports(HTTP, service="cache"))


def sidecar(spec, *, name="default", namespace="default"):
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
"""


def hosts(proxy):
    return sorted({cluster.name.rpartition("|")[2].partition(".")[0] for cluster in proxy.clusters})


def dialled(proxy):
    return [(port.address, port.port) for port in proxy.outbound]


ONLY_CACHE = "egress: [{hosts: [./cache.default.svc.cluster.local]}]"


def test_without_a_sidecar_a_proxy_knows_everything():
    assert hosts(policies.proxies()["waf"]) == ["cache", "lb", "server", "shadow", "waf"]


def test_with_a_sidecar_a_proxy_knows_what_it_names():
    known = policies.proxies(sidecar(ONLY_CACHE))["lb-v1"]

    assert hosts(known) == ["cache"]
    assert dialled(known) == [("10.96.0.3", 9180)]
    assert [table.name for table in known.tables] == ["cache.default.svc.cluster.local:9180"]


def test_a_gateway_knows_everything_whatever_a_sidecar_says():
    assert len(policies.proxies(sidecar(ONLY_CACHE))["gateway"].clusters) == len(policies.proxies()["gateway"].clusters)


def test_a_workloads_own_sidecar_goes_before_its_namespaces_and_that_before_the_meshs():
    text = (
        sidecar("egress: [{hosts: [./server.default.svc.cluster.local]}]", name="root", namespace="istio-system")
        + sidecar(ONLY_CACHE)
        + sidecar("workloadSelector: {labels: {app: lb}}, egress: [{hosts: ['~/*']}]", name="lb")
    )
    after = policies.proxies(text)

    assert (hosts(after["lb-v1"]), hosts(after["cache"])) == ([], ["cache"])
    assert hosts(policies.proxies(text.partition(ONLY_CACHE)[0].rpartition("---")[0])["cache"]) == ["server"]


def test_what_a_rule_sends_to_stays_known():
    text = (
        sidecar(ONLY_CACHE)
        + "---"
        + policies.virtual_service(
            "[{route: [{destination: {host: server}}], mirror: {host: shadow}}]", host="cache", name="cache"
        )
    )

    # The firewall's requests are mirrored by the chain itself, but only those that go to the firewall.
    assert hosts(policies.proxies(text)["lb-v1"]) == ["cache", "server", "shadow"]


def test_a_listener_with_a_port_lets_through_that_number_alone():
    text = sidecar(
        "egress: [{port: {number: 8080, name: x}, hosts: [./cache.default.svc.cluster.local]}, {hosts: ['./*']}]"
    )
    known = policies.proxies(text)["waf"]

    # The cache has one port, so it is meant, and the last listener has it where it was, too.
    assert ("10.96.0.3", 8080) in dialled(known)
    assert ("10.96.0.3", 9180) in dialled(known)
    assert len(known.outbound) == 6


def test_a_number_that_one_listener_names_is_no_business_of_the_last():
    text = sidecar(
        "egress: [{port: {number: 9180, name: x}, hosts: [./cache.default.svc.cluster.local]}, {hosts: ['./*']}]"
    )

    assert dialled(policies.proxies(text)["waf"]) == [("10.96.0.3", 9180)]


def test_hosts_that_share_a_port_are_told_apart_and_the_rest_is_let_through():
    known = policies.proxies(registry=BOTH)["waf"]
    (table,) = (one for one in known.tables if one.name == "80")

    assert [host.name.partition(".")[0] for host in table.virtual_hosts] == ["cache", "server", "allow_any"]
    assert known.unclaimed == ir.PASSTHROUGH


def test_only_services_may_be_called_where_the_mesh_says_so():
    config = MeshConfig(outbound_traffic_policy=OutboundTrafficPolicy(mode="REGISTRY_ONLY"))
    known = policies.proxies(registry=replace(BOTH, config=config))["waf"]
    (table,) = (one for one in known.tables if one.name == "80")
    (port,) = (one for one in known.outbound if one.port == 80)
    blocked = table.virtual_hosts[-1]

    assert (known.unclaimed, port.cluster) == (ir.BLACK_HOLE, ir.BLACK_HOLE)
    assert (blocked.name, blocked.domains) == ("block_all", ("*",))
    assert blocked.routes[0].action == ir.DirectResponse(code=502)


def test_a_sidecar_may_say_otherwise_for_its_workloads():
    text = sidecar("workloadSelector: {labels: {app: lb}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}", name="lb")
    after = policies.proxies(text)

    assert (after["lb-v1"].unclaimed, after["waf"].unclaimed) == (ir.BLACK_HOLE, ir.PASSTHROUGH)
    assert hosts(after["lb-v1"]) == hosts(after["waf"])


def test_an_egress_proxy_takes_what_nobody_claims():
    text = sidecar("outboundTrafficPolicy: {egressProxy: {host: shadow.default.svc.cluster.local}}")

    assert policies.proxies(text)["waf"].unclaimed == "outbound|9180||shadow.default.svc.cluster.local"


def test_proxies_that_are_told_the_same_get_the_same_objects():
    after = policies.proxies(sidecar(ONLY_CACHE))

    assert after["cache"].outbound is after["server"].outbound
    assert after["cache"].tables is after["server"].tables
    assert after["cache"].clusters[0] is after["server"].clusters[0]


def test_ingress_replaces_the_ports_of_the_services():
    text = sidecar(
        "workloadSelector: {labels: {app: lb}}, ingress: ["
        "{port: {number: 8000, name: http, protocol: HTTP}, defaultEndpoint: '127.0.0.1:9180'},"
        "{port: {number: 8001, name: tcp, protocol: TCP}, defaultEndpoint: '0.0.0.0:9181'}]"
    )
    found = policies.proxies(text)["lb-v1"].inbound

    assert [(port.port, port.protocol, port.endpoint) for port in found] == [
        (8000, ir.Protocol.HTTP, "127.0.0.1:9180"),
        (8001, ir.Protocol.TCP, "10.244.0.3:9181"),
    ]


def test_a_service_that_is_exported_elsewhere_is_not_told_here():
    hidden = Service(name="hidden", namespace="default", address="10.96.0.99", ports=(HTTP,), namespaces=("elsewhere",))
    registry = Registry(
        chain="sdc", services=(*policies.REGISTRY.services, hidden), workloads=policies.REGISTRY.workloads
    )
    known = policies.proxies(registry=registry)["waf"]

    assert "hidden" not in hosts(known)
    assert not [port for port in known.outbound if port.port == 80]


@pytest.mark.parametrize("number", [15001, 15006])
@pytest.mark.parametrize("side", ["ingress: [{port: PORT}]", "egress: [{port: PORT, hosts: [./*]}]"])
def test_a_sidecar_has_no_port_where_the_proxies_take_all_connections(side, number):
    port = f"{{number: {number}, name: http, protocol: HTTP}}"

    assert "CLV4317" in [one.code for one in errors_only(policies.problems(sidecar(side.replace("PORT", port))))]

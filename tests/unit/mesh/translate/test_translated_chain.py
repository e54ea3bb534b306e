from dataclasses import replace

from clover.mesh import ir
from clover.mesh.istio.registry import Service, ServicePort
from clover.mesh.translate import proxies_from
from clover.mesh.translate.routes import DEFAULT_RETRIES
from harness import policies
from harness.policies import REGISTRY, with_ports

LB = "lb.default.svc.cluster.local"


def test_every_workload_has_a_proxy_that_knows_whom_it_stands_beside():
    proxies = policies.proxies()

    assert list(proxies) == ["gateway", "waf", "lb-v1", "lb-v2", "cache", "server", "shadow"]
    assert proxies["lb-v2"].identity == ir.Identity(
        chain="sdc", namespace="default", function="lb", version="v2", workload="lb-v2"
    )
    assert proxies["gateway"].identity.function == "gateway"


def test_a_sidecar_takes_traffic_on_the_port_of_its_service():
    port = ir.InboundPort(port=9180, protocol=ir.Protocol.AUTO, service=LB, peers=ir.PeerMode.STRICT)

    assert policies.proxies()["lb-v1"].inbound == (port,)


def test_a_port_without_a_name_is_found_by_its_address_whatever_the_host():
    waf = policies.proxies()["waf"]

    assert waf.outbound[1] == ir.OutboundPort(
        service=LB,
        address="10.96.0.2",
        port=9180,
        protocol=ir.Protocol.AUTO,
        routes=f"{LB}:9180",
        cluster=f"outbound|9180||{LB}",
    )
    assert waf.tables[1].virtual_hosts[0].domains == ("*",)


def test_a_service_without_a_policy_gets_the_default_route():
    assert policies.routes(policies.proxies()["waf"], f"{LB}:9180") == (
        ir.Route(
            name="default",
            match=ir.RequestMatch(),
            action=ir.Forward(to=(ir.WeightedCluster(cluster=f"outbound|9180||{LB}"),)),
            retries=DEFAULT_RETRIES,
        ),
    )


def test_each_version_is_a_subset_with_its_own_endpoints():
    waf = policies.proxies()["waf"]

    assert {
        group.cluster: [member.workload for member in group.members] for group in waf.endpoints if LB in group.cluster
    } == {
        f"outbound|9180||{LB}": ["lb-v1", "lb-v2"],
        f"outbound|9180|v1|{LB}": ["lb-v1"],
        f"outbound|9180|v2|{LB}": ["lb-v2"],
    }


def test_a_workload_that_is_not_ready_gets_no_traffic():
    tired = tuple(replace(one, ready=one.name != "lb-v1") for one in REGISTRY.workloads)

    waf = policies.proxies(registry=replace(REGISTRY, workloads=tired))["waf"]

    members = {group.cluster: [member.workload for member in group.members] for group in waf.endpoints}
    assert members[f"outbound|9180||{LB}"] == ["lb-v2"]
    assert members[f"outbound|9180|v1|{LB}"] == []


def test_the_gateway_listens_where_the_chain_says_and_sends_to_its_first_function():
    gateway = policies.proxies()["gateway"]

    assert gateway.gateways == (
        ir.GatewayPort(address="127.0.0.1", port=8080, routes="http.8080", sources=("Gateway/default/sdc-gateway",)),
    )
    (route,) = policies.routes(gateway, "http.8080")
    assert route.action.to == (ir.WeightedCluster(cluster="outbound|9180||waf.default.svc.cluster.local"),)
    assert (gateway.inbound, gateway.outbound) == ((), ())


def test_the_mirror_of_the_first_function_is_kept_at_the_gateway_as_in_the_sidecars():
    proxies = policies.proxies()
    copies = (ir.Mirror(cluster="outbound|9180||shadow.default.svc.cluster.local"),)

    (at_gateway,) = policies.routes(proxies["gateway"], "http.8080")
    (in_mesh,) = policies.routes(proxies["server"], "waf.default.svc.cluster.local:9180")

    assert at_gateway.mirrors == in_mesh.mirrors == copies


def test_the_gateway_speaks_http_1_to_undeclared_ports_whatever_its_client_speaks():
    proxies = policies.proxies()

    assert policies.cluster(proxies["gateway"], f"outbound|9180||{LB}").protocol is ir.Protocol.HTTP
    assert policies.cluster(proxies["waf"], f"outbound|9180||{LB}").protocol is ir.Protocol.AUTO


def test_the_gateway_speaks_what_its_client_speaks_where_a_rule_says_so():
    rule = "trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}"
    gateway = policies.proxies(policies.destination_rule(rule))["gateway"]

    assert policies.cluster(gateway, "outbound|9180||server.default.svc.cluster.local").protocol is ir.Protocol.AUTO


def test_a_gateway_without_a_virtual_service_answers_nobody():
    found = tuple(resource for resource in policies.chain_resources() if resource.kind == "Gateway")

    gateway = proxies_from(REGISTRY, found)[0]

    assert gateway.tables == (
        ir.RouteTable(name="http.8080", virtual_hosts=(), sources=("Gateway/default/sdc-gateway",)),
    )


def test_ports_that_are_named_http_share_a_listener_and_are_told_apart_by_host():
    two = with_ports(ServicePort(number=80, name="http"), service="server")
    two = with_ports(ServicePort(number=80, name="http-admin"), service="cache", registry=two)

    waf = policies.proxies(registry=two)["waf"]

    assert waf.outbound[-1] == ir.OutboundPort(
        service="", address="0.0.0.0", port=80, protocol=ir.Protocol.HTTP, routes="80"
    )
    table = waf.tables[-1]
    assert [host.domains for host in table.virtual_hosts] == [
        ("cache.default.svc.cluster.local", "cache", "cache.default", "cache.default.svc", "10.96.0.3"),
        ("server.default.svc.cluster.local", "server", "server.default", "server.default.svc", "10.96.0.4"),
        ("*",),
    ]
    assert table.virtual_hosts[-1].routes[0].action.to[0].cluster == ir.PASSTHROUGH


def test_a_short_name_is_not_a_host_of_a_service_in_another_namespace():
    far = Service(name="far", namespace="other", address="10.96.0.99", ports=(ServicePort(number=80, name="http"),))

    waf = policies.proxies(registry=replace(REGISTRY, services=(*REGISTRY.services, far)))["waf"]

    assert "far" not in waf.tables[-1].virtual_hosts[0].domains
    assert "far.other" in waf.tables[-1].virtual_hosts[0].domains


def test_a_port_of_another_protocol_is_carried_as_it_is():
    waf = policies.proxies(registry=with_ports(ServicePort(number=3306), service="server"))["waf"]

    (port,) = (port for port in waf.outbound if port.service.startswith("server."))
    assert (port.protocol, port.routes) == (ir.Protocol.TCP, "")


def test_the_order_in_which_resources_come_does_not_matter():
    found = policies.chain_resources()

    assert proxies_from(REGISTRY, found) == proxies_from(REGISTRY, found[::-1])

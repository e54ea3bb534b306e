"""Which of several resources decides."""

from dataclasses import replace

from clover.mesh import ir
from harness import policies
from harness.policies import REGISTRY, destination_rule, virtual_service, workload

SERVER = "server.default.svc.cluster.local"


def names(text, node="waf", table=f"{SERVER}:9180", registry=REGISTRY):
    return [route.name for route in policies.routes(policies.proxies(text, registry=registry)[node], table)]


def to(host="server"):
    return f"route: [{{destination: {{host: {host}}}}}]"


def test_the_most_specific_host_decides():
    wide = virtual_service(f"[{{name: wide, {to()}}}]", host="'*.default.svc.cluster.local'", name="wide")
    narrow = virtual_service(f"[{{name: narrow, {to()}}}]", host="server", name="narrow")

    assert names(wide + "---" + narrow) == ["narrow"]
    assert names(wide) == ["wide"]


def test_rules_keep_their_order_and_end_with_the_first_that_takes_everything():
    rules = "[{name: a, match: [{uri: {prefix: /a}}], %s}, {name: b, match: [{uri: {prefix: /}}], %s}, {name: c, %s}]"

    assert names(virtual_service(rules.replace("%s", to()), host="server")) == ["a", "b"]


def test_a_rule_for_a_source_is_for_the_proxies_of_that_source():
    rules = f"[{{name: waf-only, match: [{{sourceLabels: {{app: waf}}}}], {to()}}}, {{name: rest, {to()}}}]"
    text = virtual_service(rules, host="server")

    assert names(text, "waf") == ["waf-only"]
    assert names(text, "cache") == ["rest"]


def test_a_virtual_service_that_says_nothing_for_a_proxy_is_as_good_as_none():
    text = virtual_service(f"[{{match: [{{sourceLabels: {{app: waf}}}}], {to()}}}]", host="server", name="x")

    assert names(text, "waf") == ["x.0"]
    assert names(text, "cache") == ["default"]


def test_rules_for_a_gateway_are_not_for_sidecars_nor_the_reverse():
    rules = (
        f"[{{name: outside, match: [{{gateways: [sdc-gateway]}}], {to()}}}, "
        f"{{name: inside, match: [{{gateways: [mesh]}}], {to()}}}]"
    )
    text = virtual_service(rules, host="server", more="gateways: [mesh, sdc-gateway]")
    gateway = policies.proxies(text)["gateway"]

    assert names(text) == ["inside"]
    (host,) = (host for host in gateway.tables[0].virtual_hosts if host.domains == (SERVER,))
    assert [route.name for route in host.routes] == ["outside"]


def test_what_is_not_exported_is_for_its_own_namespace():
    elsewhere = replace(workload("far", "", "10.244.0.99"), namespace="other")
    registry = replace(REGISTRY, workloads=(*REGISTRY.workloads, elsewhere))
    text = virtual_service(f"[{{name: here, {to()}}}]", host="server", more="exportTo: ['.']")

    assert names(text, registry=registry) == ["here"]
    assert names(text, "far", registry=registry) == ["default"]


def test_a_rule_in_the_callers_namespace_comes_before_one_in_the_services():
    elsewhere = replace(workload("far", "", "10.244.0.99"), namespace="other")
    registry = replace(REGISTRY, workloads=(*REGISTRY.workloads, elsewhere))
    theirs = destination_rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", host=SERVER)
    text = destination_rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}")
    text += "---" + theirs.replace("{name: server}", "{name: server, namespace: other}")

    proxies = policies.proxies(text, registry=registry)

    assert policies.cluster(proxies["waf"], f"outbound|9180||{SERVER}").balancing is ir.Balancing.ROUND_ROBIN
    assert policies.cluster(proxies["far"], f"outbound|9180||{SERVER}").balancing is ir.Balancing.RANDOM


def test_a_single_destination_gets_everything_whatever_its_weight():
    text = virtual_service("[{route: [{destination: {host: server}, weight: 7}]}]", host="server")

    (route,) = policies.routes(policies.proxies(text)["waf"], f"{SERVER}:9180")

    assert route.action.to == (ir.WeightedCluster(cluster=f"outbound|9180||{SERVER}", weight=100),)


def test_a_hash_is_on_the_default_route_too_and_its_requests_are_retried_at_the_same_endpoint():
    text = destination_rule("trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}")

    (route,) = policies.routes(policies.proxies(text)["waf"], f"{SERVER}:9180")

    assert route.action.hash_policies == (ir.HashPolicy(header="x-user"),)
    assert not route.retries.previous_hosts


def test_a_rule_for_some_clients_is_obeyed_by_them_alone_and_only_in_its_namespace():
    everywhere = REGISTRY.workloads
    guest = replace(workload("guest", "waf", "10.244.1.2"), namespace="other")
    registry = replace(REGISTRY, workloads=(*everywhere, guest))
    text = "---".join(
        (
            destination_rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}"),
            destination_rule(
                "workloadSelector: {matchLabels: {app: waf}}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}",
                name="chosen",
            ),
        )
    )
    told = policies.proxies(text, registry=registry)
    found = {
        node: policies.cluster(told[node], f"outbound|9180||{SERVER}").balancing for node in ("waf", "lb-v1", "guest")
    }

    assert found == {"waf": ir.Balancing.ROUND_ROBIN, "lb-v1": ir.Balancing.RANDOM, "guest": ir.Balancing.RANDOM}


def test_clients_that_no_rule_for_the_host_chooses_obey_none():
    wide = destination_rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", host="'*.local'", name="wide")
    text = f"{wide}---{destination_rule('workloadSelector: {matchLabels: {app: waf}}')}"

    assert policies.cluster(policies.proxies(text)["cache"], f"outbound|9180||{SERVER}").balancing == (
        ir.Balancing.LEAST_REQUEST
    )

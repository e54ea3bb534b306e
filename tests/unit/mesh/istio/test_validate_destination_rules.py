import dataclasses

import pytest

from harness import policies
from harness.policies import destination_rule, virtual_service


def said(text):
    start = "DestinationRule default/server: field "
    return [(problem.code, problem.severity, problem.what.removeprefix(start)) for problem in policies.problems(text)]


def test_a_sound_rule_is_not_talked_about():
    assert said(destination_rule("subsets: [{name: v1, labels: {version: v1}}, {name: all}]")) == []


def test_a_rule_is_for_a_service_of_the_mesh():
    assert said(destination_rule("", host="serve")) == [
        ("CLV4201", "error", "'spec.host': there is no service 'serve' in the mesh")
    ]


def test_a_name_that_services_of_two_namespaces_have_is_offered_once():
    first, *rest = policies.REGISTRY.services
    twice = (first, *rest, dataclasses.replace(first, namespace="elsewhere"))
    registry = dataclasses.replace(policies.REGISTRY, services=twice)

    (found,) = policies.problems(
        virtual_service("[{route: [{destination: {host: xyzzy}}]}]", host="lb"), registry=registry
    )

    assert (found.code, found.hint.count(repr(first.name))) == ("CLV4201", 1)


def test_two_rules_for_one_host_are_an_error_that_names_both():
    assert said(destination_rule("", host="lb")) == [
        (
            "CLV4207",
            "error",
            "'spec.host': the host 'lb.default.svc.cluster.local' already has a DestinationRule: 'default/lb'",
        )
    ]


def test_a_subset_that_is_defined_twice_is_an_error():
    assert said(destination_rule("subsets: [{name: a}, {name: a}]")) == [
        ("CLV4210", "error", "'spec.subsets[1].name': the subset 'a' is defined twice")
    ]


def test_a_subset_that_chooses_no_workload_is_a_warning():
    assert said(destination_rule("subsets: [{name: v9, labels: {version: v9}}]")) == [
        ("CLV4204", "warning", "'spec.subsets[0].labels': no workload of 'server' has the labels 'version=v9'")
    ]


def test_settings_are_for_ports_that_there_are_and_are_written_once():
    settings = (
        "trafficPolicy: {portLevelSettings: [{port: {number: 80}}, {port: {number: 9180}}, {port: {number: 9180}}]}"
    )
    path = "'spec.trafficPolicy.portLevelSettings"

    assert said(destination_rule(settings)) == [
        ("CLV4202", "error", f"{path}[0].port.number': 'server' has no port 80; it has 9180"),
        ("CLV4207", "error", f"{path}[1].port.number': the settings of port 9180 are written 2 times"),
        ("CLV4207", "error", f"{path}[2].port.number': the settings of port 9180 are written 2 times"),
    ]


@pytest.mark.parametrize(
    ("balancer", "code", "what"),
    [
        ("{simple: PASSTHROUGH}", "CLV4103", "'PASSTHROUGH' is not supported by Clover"),
        ("{consistentHash: {httpHeaderName: 'a b'}}", "CLV4212", "'a b' is not a header name"),
        ("{consistentHash: {httpCookie: {name: 'a b'}}}", "CLV4212", "'a b' is not the name of a cookie"),
        (
            "{consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}",
            "CLV4219",
            "the table size 65536 is not a prime number",
        ),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "trafficPolicy: {loadBalancer: %s}",
        "trafficPolicy: {portLevelSettings: [{port: {number: 9180}, loadBalancer: %s}]}",
        "subsets: [{name: a, trafficPolicy: {loadBalancer: %s}}]",
    ],
)
def test_a_balancer_that_cannot_work_is_an_error_wherever_it_stands(place, balancer, code, what):
    ((found_code, severity, found),) = said(destination_rule(place % balancer))

    assert (found_code, severity) == (code, "error")
    assert found.endswith(what)


def test_failures_that_are_not_counted_are_a_warning():
    ((code, severity, _),) = said(
        destination_rule("trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 3}}")
    )

    assert (code, severity) == ("CLV4220", "warning")


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (
            "loadBalancer: {consistentHash: {httpCookie: {name: c, attributes: [{name: Secure}]}}}",
            "loadBalancer.consistentHash.httpCookie.attributes",
        ),
        ("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", "loadBalancer.warmup"),
        ("connectionPool: {http: {maxRetries: 1}}, retryBudget: {}", "connectionPool.http.maxRetries"),
        ("outlierDetection: {consecutiveErrors: 1}", "outlierDetection.consecutiveErrors"),
    ],
)
def test_a_setting_without_effect_is_a_warning(policy, field):
    ((code, severity, what),) = said(destination_rule(f"trafficPolicy: {{{policy}}}"))

    assert (code, severity) == ("CLV4220", "warning")
    assert what.startswith(f"'spec.trafficPolicy.{field}': ")


@pytest.mark.parametrize("attribute", ["{name: 'a b'}", "{name: a, value: 'x; Domain=y'}", "{name: a, value: 'é'}"])
def test_an_attribute_of_a_cookie_is_nothing_more_than_that(attribute):
    cookie = f"{{name: c, ttl: 0s, attributes: [{attribute}]}}"
    ((code, severity, _),) = said(
        destination_rule(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {cookie}}}}}}}")
    )

    assert (code, severity) == ("CLV4212", "error")


OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [a.example.com]
  ports: [{number: 80, name: http}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.7}]
---"""


@pytest.mark.parametrize(("version", "found"), [("{}", [("CLV4103", "error")]), ("{version: V2}", [])])
def test_hosts_outside_are_not_spoken_to_in_a_way_over_which_envoy_ends_itself(version, found):
    rule = destination_rule(f"trafficPolicy: {{proxyProtocol: {version}}}", host="a.example.com", name="outside")

    assert [one[:2] for one in said(OUTSIDE + rule)] == found


def test_sidecars_do_not_read_the_proxy_protocol():
    ((code, severity, _),) = said(destination_rule("trafficPolicy: {proxyProtocol: {version: V2}}"))

    assert (code, severity) == ("CLV4381", "warning")


def chosen(labels, name="chosen", more=""):
    return destination_rule(f"workloadSelector: {{matchLabels: {labels}}}, {more}", name=name)


def test_a_rule_for_some_clients_stands_beside_the_rule_for_all():
    assert said(destination_rule("") + "---" + chosen("{app: waf}")) == []


def test_a_rule_for_no_client_is_a_warning():
    ((code, severity, what),) = said(chosen("{app: nobody}"))

    assert (code, severity) == ("CLV4380", "warning")
    assert what.endswith("no workload of the namespace 'default' is chosen, so the rule is for nobody")


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("{app: lb}", "{version: v2}", "'lb-v2' already obeys the DestinationRule 'default/one' for this host"),
        (
            "{app: lb}",
            "{app: lb}",
            "the host 'server.default.svc.cluster.local' already has a DestinationRule: 'default/one'",
        ),
        ("{app: lb, version: v1}", "{version: v2}", ""),
    ],
)
def test_a_client_obeys_one_rule_for_a_host(first, second, what):
    found = said(chosen(first, "one") + "---" + chosen(second, "two"))

    assert [(code, text.partition("': ")[2]) for code, _, text in found] == ([("CLV4207", what)] if what else [])


def test_a_subset_is_there_for_every_client_that_a_route_is_for():
    text = "---".join(
        (
            destination_rule("subsets: [{name: v1, labels: {version: v1}}]"),
            chosen("{app: waf}"),
            virtual_service("[{route: [{destination: {host: server, subset: v1}}]}]", host="server", name="server"),
        )
    )

    assert [problem.code for problem in policies.problems(text)] == ["CLV4203"]

import pytest

from harness import policies
from harness.policies import destination_rule


def said(text):
    start = "DestinationRule default/server: field "
    return [(problem.code, problem.severity, problem.what.removeprefix(start)) for problem in policies.problems(text)]


def test_a_sound_rule_is_not_talked_about():
    assert said(destination_rule("subsets: [{name: v1, labels: {version: v1}}, {name: all}]")) == []


def test_a_rule_is_for_a_service_of_the_mesh():
    assert said(destination_rule("", host="serve")) == [
        ("CLV4201", "error", "'spec.host': there is no service 'serve' in the mesh")
    ]


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

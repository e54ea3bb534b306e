"""What only a look at several resources, or rules, beside each other shows."""

from __future__ import annotations

from harness import policies
from harness.policies import destination_rule, virtual_service

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %s}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: %s, name: a, protocol: %s}, hosts: [%s]%s}]
"""
SEVERAL = "---"


def found(text: str, *codes: str) -> list[tuple[str, str, str]]:
    """Return Clover's code, Istio's and the field of the warnings with one of the codes."""
    warnings = [one for one in policies.problems(text) if one.severity == "warning" and one.code in codes]
    return [(one.code, one.istio, one.what.split("'")[1]) for one in warnings]


def test_a_match_that_an_earlier_rule_takes_has_no_effect():
    to = "route: [{destination: {host: lb}}]"
    rules = f"[{{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{match: [{{uri: {{exact: /a/b}}}}, {{port: 80}}], {to}}}]"

    assert found(virtual_service(rules), "CLV4114") == [("CLV4114", "IST0131", "spec.http[1].match[0]")]


def test_a_match_that_another_one_of_the_rule_takes_has_no_effect():
    rules = "[{match: [{uri: {prefix: /a}}, {uri: {prefix: /a}}], route: [{destination: {host: lb}}]}]"

    assert found(virtual_service(rules), "CLV4114") == [("CLV4114", "IST0131", "spec.http[0].match[1]")]


def test_of_a_rule_that_is_never_reached_no_match_is_told():
    to = "route: [{destination: {host: lb}}]"
    rules = f"[{{match: [{{uri: {{prefix: /}}}}], {to}}}, {{match: [{{uri: {{exact: /a}}}}], {to}}}]"

    assert found(virtual_service(rules), "CLV4114", "CLV4214") == [("CLV4214", "IST0130", "spec.http[1]")]


def test_two_gateways_with_one_host_at_one_port_are_told():
    one, two = GATEWAY % ("one", 81, "HTTP", "a.com", ""), GATEWAY % ("two", 81, "HTTP", "'*.com', a.com", "")

    assert found(one + SEVERAL + two, "CLV4115") == [("CLV4115", "IST0145", "spec.servers[0].hosts")]


def test_gateways_with_hosts_or_ports_of_their_own_are_not():
    texts = [GATEWAY % ("a", 81, "HTTP", "a.com", ""), GATEWAY % ("b", 82, "HTTP", "a.com", "")]

    assert found(SEVERAL.join([*texts, GATEWAY % ("c", 81, "HTTP", "b.com", "")]), "CLV4115") == []


def test_one_certificate_at_two_gateways_is_told():
    tls = ", tls: {mode: SIMPLE, credentialName: shop}"
    texts = [GATEWAY % ("a", 8443, "HTTPS", "a.com", tls), GATEWAY % ("b", 8443, "HTTPS", "b.com", tls)]

    assert found(SEVERAL.join(texts), "CLV4116") == [("CLV4116", "IST0138", "spec.servers[0].tls.credentialName")]


def test_tls_to_nobody_in_particular_is_told_for_the_host_and_for_ports():
    tls = "tls: {mode: SIMPLE}"
    text = destination_rule(f"trafficPolicy: {{{tls}, portLevelSettings: [{{port: {{number: 9180}}, {tls}}}]}}")

    assert found(text, "CLV4117") == [
        ("CLV4117", "IST0128", "spec.trafficPolicy.tls"),
        ("CLV4117", "IST0129", "spec.trafficPolicy.portLevelSettings[0].tls"),
    ]


def test_tls_to_whom_an_authority_vouches_for_is_not():
    text = destination_rule("trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /etc/ca.crt}}")

    assert found(text, "CLV4117") == []


def test_words_that_istio_has_given_up_are_told():
    rules = "[{route: [{destination: {host: lb}}], mirror: {host: shadow}, mirrorPercent: 5}]"

    assert found(virtual_service(rules), "CLV4118") == [("CLV4118", "IST0002", "spec.http[0].mirrorPercent")]
    assert found(destination_rule("trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}"), "CLV4118") == [
        ("CLV4118", "IST0002", "spec.trafficPolicy.loadBalancer.simple")
    ]

"""A route to somebody who refuses the caller is told of before anybody wonders."""

import pytest

from clover.mesh.istio import from_chain
from clover.mesh.translate import proxies_from, reach
from clover.runtime import addressing, planner
from clover.spec import load
from harness import policies

WIRED = policies.CHAIN.replace("  mesh: {authorization: none}\n", "")
STRAIGHT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sdc}
spec:
  hosts: ["*"]
  gateways: [sdc-gateway]
  http:
  - route: [{destination: {host: server, port: {number: 9180}}}]
"""
ALLOW = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: straight}
spec:
  selector: {matchLabels: {app: server}}
  rules:
  - from: [{source: {principals: [%s]}}]
"""


def warnings(text, registry=policies.REGISTRY):
    meant = {resource.metadata.name + resource.kind: resource for resource in from_chain.resources_from(chain())}
    given = {resource.metadata.name + resource.kind: resource for resource in policies.read(text)}
    proxies = proxies_from(registry, {**meant, **given}.values())
    return list(reach.check(proxies, {"VirtualService/default/sdc": "sdc.yaml:3:9"}))


def chain():
    return load.parse(WIRED, "chain.yaml")


def test_a_route_to_a_function_that_does_not_know_the_caller_is_a_warning():
    (problem,) = warnings(STRAIGHT)

    assert (problem.severity, problem.where) == ("warning", "sdc.yaml:3:9")
    assert problem.what == (
        "VirtualService default/sdc sends requests of 'gateway' to 'server', where AuthorizationPolicy/default/server "
        "never allows 'cluster.local/ns/default/sa/gateway'"
    )


CARRIED = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: raw}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sdc}
spec:
  hosts: ["*"]
  gateways: [raw]
  tcp: [{route: [{destination: {host: server, port: {number: 9180}}}]}]
"""
PASSED = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: raw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 9000, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sdc}
spec:
  hosts: [a.com]
  gateways: [raw]
  tls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: server, port: {number: 9180}}}]}]
"""


@pytest.mark.parametrize("text", [CARRIED, PASSED])
def test_connections_that_are_not_read_are_refused_as_requests_are(text):
    (problem,) = warnings(text)

    assert (problem.code, problem.severity, problem.where) == ("CLV4375", "warning", "sdc.yaml:3:9")
    assert problem.what.startswith("VirtualService default/sdc sends connections of 'gateway' to 'server', where")
    assert problem.hint == "allow it in an AuthorizationPolicy, or every connection is closed"
    assert warnings(text + ALLOW % "cluster.local/ns/default/sa/gateway") == []


WITHIN = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sdc}
spec:
  hosts: [lb]
  http: [{%s}]
"""
MIRROR = WITHIN % "route: [{destination: {host: lb}}], mirror: {host: server}"
ELSEWHERE = WITHIN % "route: [{destination: {host: server}}]"


@pytest.mark.parametrize(("text", "sent"), [(MIRROR, "copies of requests"), (ELSEWHERE, "requests")])
def test_who_may_call_a_function_must_be_allowed_where_its_requests_are_sent_instead(text, sent):
    (problem,) = warnings(text)

    assert (problem.code, problem.severity, problem.where) == ("CLV4375", "warning", "sdc.yaml:3:9")
    assert problem.what == (
        f"VirtualService default/sdc sends {sent} of 'waf' to 'server', where AuthorizationPolicy/default/server "
        "never allows 'cluster.local/ns/default/sa/waf'"
    )
    assert warnings(text + ALLOW % "cluster.local/ns/default/sa/waf") == []


def test_the_agent_that_may_call_every_ambassador_does_not_hide_it():
    whole = planner.registry_from(chain(), addressing.addresses_from(chain()))

    assert [problem.what.partition(",")[0] for problem in warnings(MIRROR, whole)] == [
        "VirtualService default/sdc sends copies of requests of 'waf' to 'server'"
    ]


def test_nothing_is_said_of_a_function_that_lets_everybody_in_or_of_a_caller_who_gets_through():
    anybody = ALLOW.replace("server", "lb") % '"*"'

    assert warnings(ELSEWHERE + anybody) == []
    assert warnings(ELSEWHERE + ALLOW.replace("app: server", "app: lb").split("  rules:")[0] + "  rules: [{}]") == []
    assert warnings((WITHIN % "route: [{destination: {host: cache}}]").replace("[lb]", "[server]")) == []


def test_it_is_none_when_a_policy_allows_the_caller_or_might():
    assert warnings(STRAIGHT + ALLOW % "cluster.local/ns/default/sa/gateway") == []
    assert warnings(STRAIGHT + ALLOW % '"*"') == []
    assert warnings(STRAIGHT + ALLOW % '"cluster.local/ns/default/*"') == []


def test_what_the_chain_itself_means_is_allowed():
    resources = from_chain.resources_from(chain())
    everything = {f"{one.kind}/default/{one.metadata.name}": "chain.yaml" for one in resources}

    assert list(reach.check(proxies_from(policies.REGISTRY, resources), everything)) == []

"""Rules of one VirtualService in the place of a rule of another: merged as Istio merges them."""

import pytest

from clover.errors import DocumentError
from harness import policies
from harness.policies import routes

TO_LB = "route: [{destination: {host: lb, port: {number: 9180}}}]"


def document(name, spec):
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{{spec}}}
---
"""


def root(rule, *, more=""):
    return document("root", f"hosts: [lb], http: [{rule}]{more}")


def delegate(rules, *, name="inner", more=""):
    return document(name, f"http: [{rules}]{more}")


def said(text):
    """Return what is said about VirtualServices."""
    return [(problem.code, problem.severity, problem.what.partition(": ")[2]) for problem in policies.problems(text)]


def in_lb(text):
    """Return the routes of the sidecar beside `waf` for `lb`."""
    return routes(policies.proxies(text)["waf"], "lb.default.svc.cluster.local:9180")


def test_the_rules_of_a_delegate_stand_in_the_place_of_the_rule():
    text = root("{match: [{uri: {prefix: /api}}], delegate: {name: inner}}, {route: [{destination: {host: cache}}]}")
    text += delegate(f"{{match: [{{uri: {{prefix: /api/v2}}}}], {TO_LB}}}, {{name: rest, {TO_LB}}}")

    assert said(text) == []
    narrow, rest, last = in_lb(text)
    assert (narrow.match.path.value, rest.match.path.value, last.match.path) == ("/api/v2", "/api", None)
    assert narrow.sources == (
        "VirtualService/default/root",
        "VirtualService/default/inner",
        "DestinationRule/default/lb",
    )
    assert last.sources == ("VirtualService/default/root",)


def test_conditions_of_both_hold_and_names_are_joined():
    text = root(
        "{name: a, match: [{name: b, uri: {prefix: /x}, headers: {one: {exact: '1'}}, statPrefix: s}],"
        " delegate: {name: inner}}"
    )
    text += delegate(f"{{name: c, match: [{{name: d, method: {{exact: GET}}, headers: {{two: {{}}}}}}], {TO_LB}}}")
    (route,) = in_lb(text)

    assert route.name == "a-c.b-d"
    assert route.match.path.value == "/x"
    assert [test.name for test in route.match.headers] == [":method", "one", "two"]
    assert route.stat_prefix == "s"


def test_a_delegate_inherits_what_it_does_not_say_itself():
    text = root("{timeout: 5s, retries: {attempts: 7}, delegate: {name: inner}, headers: {request: {set: {a: b}}}}")
    text += delegate(f"{{timeout: 1s, {TO_LB}}}")
    (route,) = in_lb(text)

    assert (route.timeout_s, route.retries.attempts, route.request_headers.set) == (1.0, 7, (("a", "b"),))


def test_short_names_of_a_delegate_mean_services_of_its_own_namespace():
    text = root("{delegate: {name: inner, namespace: other}}") + delegate(f"{{{TO_LB}}}").replace(
        "{name: inner}", "{name: inner, namespace: other}"
    )

    assert said(text)[0] == (
        "CLV4201",
        "error",
        "field 'spec.http[0].route[0].destination.host': there is no service 'lb' in the mesh",
    )


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /b}"),
        ("uri: {prefix: /a/b}", "uri: {prefix: /a}"),
        ("uri: {exact: /a}", "uri: {prefix: /a}"),
        ("uri: {prefix: /a}", "uri: {exact: /b}"),
        ("uri: {regex: .*}", "uri: {prefix: /a}"),
        ("uri: {prefix: /a}", "uri: {regex: /a.*}"),
        ("uri: {prefix: /a}", "uri: {prefix: /a}, ignoreUriCase: true"),
        ("method: {exact: GET}", "method: {exact: POST}"),
        ("headers: {a: {exact: x}}", "headers: {a: {exact: y}}"),
        ("queryParams: {a: {exact: x}}", "queryParams: {a: {exact: y}}"),
        ("port: 9180", "port: 50054"),
        ("sourceLabels: {app: waf}", "sourceLabels: {app: lb}"),
        ("sourceNamespace: default", "sourceNamespace: other"),
        ("gateways: [mesh]", "gateways: [sdc-gateway]"),
    ],
)
def test_a_condition_that_is_no_part_of_the_rule_that_delegates_is_refused(wide, narrow):
    text = root(f"{{match: [{{{wide}}}], delegate: {{name: inner}}}}") + delegate(f"{{match: [{{{narrow}}}], {TO_LB}}}")

    assert (
        "CLV4334",
        "error",
        "field 'spec.http[0].match': a condition is no part of those of rule 0 of VirtualService 'default/root', "
        "which delegates to it",
    ) in said(text)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /a/b}"),
        ("uri: {prefix: /a}", "uri: {exact: /a}"),
        ("uri: {exact: /a}", "uri: {exact: /a}"),
        ("headers: {a: {exact: x}}", "headers: {b: {exact: y}}"),
        ("uri: {prefix: /a}", "method: {exact: GET}"),
        ("sourceLabels: {app: waf}", "sourceLabels: {app: waf, version: v1}"),
    ],
)
def test_a_condition_that_is_a_part_of_the_rule_that_delegates_is_taken(wide, narrow):
    text = root(f"{{match: [{{{wide}}}], delegate: {{name: inner}}}}") + delegate(f"{{match: [{{{narrow}}}], {TO_LB}}}")

    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "severity", "what"),
    [
        (root("{delegate: {name: nowhere}}"), "error", "there is no VirtualService 'default/nowhere'"),
        (
            root("{delegate: {name: sdc}}"),
            "error",
            "VirtualService 'default/sdc' has 'hosts', and only one without can be delegated to",
        ),
        (
            root("{delegate: {name: inner}}") + delegate("{delegate: {name: x}}"),
            "error",
            "a delegate cannot delegate again",
        ),
        (delegate(f"{{{TO_LB}}}"), "warning", "there are no 'hosts', and no VirtualService delegates to it"),
    ],
)
def test_a_delegation_that_leads_nowhere_is_told(text, severity, what):
    ((code, found, said_what),) = said(text)

    assert (code, found, what in said_what) == ("CLV4333", severity, True)


@pytest.mark.parametrize(
    "field", ["route: [{destination: {host: lb}}]", "redirect: {uri: /}", "directResponse: {status: 200}"]
)
def test_a_rule_that_delegates_does_nothing_else(field):
    text = root(f"{{delegate: {{name: inner}}, {field}}}") + delegate(f"{{{TO_LB}}}")

    assert ("CLV4213", "error") in [(code, severity) for code, severity, _ in said(text)]


def test_a_delegate_has_no_gateways_of_its_own():
    with pytest.raises(DocumentError) as caught:
        policies.read(delegate(f"{{{TO_LB}}}", more=", gateways: [mesh]"))

    assert "a delegate has no 'gateways'" in str(caught.value)

import base64

import pytest

from clover.mesh.istio import validate
from clover.mesh.istio.registry import ServicePort
from clover.mesh.istio.resources import VirtualService
from harness import policies
from harness.policies import virtual_service

TO_LB = "route: [{destination: {host: lb}}]"


def said(text, **more):
    """Return what is said about a policy, without the places, and its codes."""
    found = policies.problems(text, **more)
    start = "VirtualService default/lb: field "
    return [(problem.code, problem.severity, problem.what.removeprefix(start), problem.hint) for problem in found]


def about(rule, **more):
    return said(virtual_service(f"[{rule}]", **more))


def sending(fields):
    """Return a rule that sends to a destination that is there, with further fields."""
    return f"{{{fields}, {TO_LB}}}"


def test_a_sound_policy_is_not_talked_about():
    assert about("{route: [{destination: {host: lb, subset: v1}, weight: 100}]}") == []


def test_a_problem_is_told_where_it_is_written():
    (problem,) = policies.problems(virtual_service("[{route: [{destination: {host: lbb}}]}]"))

    assert str(problem) == (
        "policy.yaml:7:40: error: VirtualService default/lb: field 'spec.http[0].route[0].destination.host': "
        "there is no service 'lbb' in the mesh [CLV4201, IST0101]\n    hint: did you mean 'lb'?"
    )


@pytest.mark.parametrize(
    ("destination", "code", "what", "hint"),
    [
        ("{host: nowhere}", "CLV4201", "there is no service 'nowhere' in the mesh", "there are 'waf', 'lb'"),
        (
            "{host: lb.default}",
            "CLV4201",
            "there is no service 'lb.default' in the mesh",
            "Istio does not complete a name with dots; write 'lb.default.svc.cluster.local'",
        ),
        ("{host: lb.other}", "CLV4201", "there is no service 'lb.other' in the mesh", ""),
        ("{host: lb, port: {number: 80}}", "CLV4202", "'lb' has no port 80; it has 9180", ""),
        ("{host: lb, subset: v3}", "CLV4203", "there is no subset 'v3' of 'lb'", "DestinationRule default/lb defines"),
        ("{host: lb, subset: V1}", "CLV4203", "there is no subset 'V1' of 'lb'", ""),
        (
            "{host: cache, subset: v1}",
            "CLV4203",
            "there is no subset 'v1' of 'cache'",
            "write a DestinationRule for 'cache' that defines it",
        ),
    ],
)
@pytest.mark.parametrize(
    "place", ["route: [{destination: %s}]", TO_LB + ", mirror: %s", TO_LB + ", mirrors: [{destination: %s}]"]
)
def test_a_destination_that_is_not_there_is_an_error_wherever_it_is_named(place, destination, code, what, hint):
    ((found_code, severity, found, found_hint),) = about("{" + place % destination + "}")

    assert (found_code, severity) == (code, "error")
    assert found.endswith(what)
    assert found_hint.startswith(hint)


def test_a_destination_with_several_ports_must_say_which_when_the_called_port_is_none_of_them():
    two = policies.with_ports(ServicePort(number=80), ServicePort(number=81), service="server")

    ((code, _, what, hint),) = said(virtual_service("[{route: [{destination: {host: server}}]}]"), registry=two)

    assert (code, hint) == ("CLV4202", "say 'port: {number: ...}', one of 80, 81")
    assert what.endswith("'server' has several ports, and the port that was called is none of them")


def test_a_destination_with_several_ports_may_leave_out_the_one_that_was_called():
    two = policies.with_ports(ServicePort(number=9180), ServicePort(number=81), service="server")

    assert said(virtual_service("[{route: [{destination: {host: server}}]}]"), registry=two) == []


@pytest.mark.parametrize(
    ("host", "what", "hint"),
    [
        ("lbb", "there is no service 'lbb' in the mesh", "did you mean 'lb'?"),
        ("'*'", "the host '*' stands for every service of the mesh, which Istio does not allow", "name the services"),
        ("'lb:9180'", "'lb:9180' is not a host name", "leave the port out"),
        ("'a b'", "'a b' is not a host name", ""),
        ("'*.com'", "there is no service '*.com' in the mesh", ""),
    ],
)
def test_sidecars_are_asked_for_services_of_the_mesh(host, what, hint):
    ((code, _, found, found_hint),) = about(f"{{{TO_LB}}}", host=host)

    assert (code, found) == ("CLV4201", f"'spec.hosts[0]': {what}")
    assert found_hint.startswith(hint)


def test_a_host_that_is_written_twice_is_an_error_also_in_another_form():
    assert about(f"{{{TO_LB}}}", host="lb, LB.default.svc.cluster.local") == [
        ("CLV4207", "error", "'spec.hosts[1]': the host 'LB.default.svc.cluster.local' is written twice", "")
    ]


def test_two_virtual_services_for_one_host_are_an_error_that_names_both():
    assert said(virtual_service(f"[{{{TO_LB}}}]", host="waf")) == [
        (
            "CLV4207",
            "error",
            "'spec.hosts': the host 'waf.default.svc.cluster.local' already has a VirtualService in the sidecars: "
            "'default/waf'",
            "put the rules into 'default/waf', or delete it first",
        )
    ]


def test_a_wildcard_and_a_name_do_not_exclude_each_other():
    assert said(virtual_service(f"[{{{TO_LB}}}]", host="'*.default.svc.cluster.local'")) == []
    assert said(virtual_service(f"[{{{TO_LB}}}]", host="shop.example.com", more="gateways: [sdc-gateway]")) == []


def test_an_unknown_gateway_is_an_error_with_the_nearest_name():
    assert said(virtual_service(f"[{{{TO_LB}}}]", host="a.com", more="gateways: [sdc-gatway]")) == [
        (
            "CLV4208",
            "error",
            "'spec.gateways[0]': there is no Gateway 'default/sdc-gatway'",
            "did you mean 'sdc-gateway'?",
        )
    ]


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("{name: x}", "none of them is set, expected one of 'route', 'redirect', 'directResponse' and 'delegate'"),
        (sending("redirect: {uri: /}"), "'route' and 'redirect' is set, expected one of"),
        ("{redirect: {uri: /}, directResponse: {status: 200}}", "'redirect' and 'directResponse' is set"),
        ("{redirect: {uri: /}, rewrite: {uri: /}}", "'rewrite' and 'redirect' exclude each other"),
        (
            "{directResponse: {status: 200}, fault: {abort: {httpStatus: 503, percentage: {value: 1}}}}",
            "'fault' and 'directResponse' exclude each other",
        ),
    ],
)
def test_a_rule_does_one_thing(rule, what):
    ((code, severity, found, _),) = about(rule)

    assert (code, severity) == ("CLV4213", "error")
    assert what in found


def test_what_a_redirect_cannot_do_is_a_warning():
    assert [
        (code, severity) for code, severity, _, _ in about("{redirect: {uri: /}, timeout: 1s, retries: {attempts: 1}}")
    ] == [
        ("CLV4220", "warning"),
        ("CLV4220", "warning"),
    ]


@pytest.mark.parametrize(
    ("weights", "code", "severity", "what"),
    [
        ((0, 0), "CLV4205", "error", "the weights of the destinations are all 0"),
        (
            (2**31 - 1, 2**31 - 1, 2**31 - 1),
            "CLV4205",
            "error",
            "the weights add up to 6442450941, more than 4294967295",
        ),
        ((80, 30), "CLV4206", "warning", "the weights add up to 110; they are taken as shares of 110, not as percent"),
    ],
)
def test_weights_share_the_traffic_out(weights, code, severity, what):
    shares = ", ".join(f"{{destination: {{host: lb}}, weight: {weight}}}" for weight in weights)

    ((found_code, found_severity, found, _),) = about(f"{{route: [{shares}]}}")

    assert (found_code, found_severity, found) == (code, severity, f"'spec.http[0].route': {what}")


def test_a_destination_that_gets_no_weight_among_others_is_a_warning():
    ((code, severity, what, _),) = about(
        "{route: [{destination: {host: lb}, weight: 100}, {destination: {host: server}}]}"
    )

    assert (code, severity) == ("CLV4220", "warning")
    assert what == "'spec.http[0].route[1]': the destination has no 'weight' and gets no traffic"


@pytest.mark.parametrize(
    "rule",
    [
        "{match: [{uri: {regex: '(?=a)'}}], %s}",
        "{match: [{uri: {regex: '*'}}], %s}",
        "{match: [{headers: {x-a: {regex: '('}}}], %s}",
        "{match: [{withoutHeaders: {x-a: {regex: '('}}}], %s}",
        "{match: [{queryParams: {a: {regex: '('}}}], %s}",
        "{match: [{method: {regex: '('}}], %s}",
        "{rewrite: {uriRegexRewrite: {match: '('}}, %s}",
        "{rewrite: {uriRegexRewrite: {match: a, rewrite: '\\1'}}, %s}",
        "{corsPolicy: {allowOrigins: [{regex: '*'}]}, %s}",
    ],
)
def test_an_expression_that_envoy_would_refuse_is_an_error_wherever_it_stands(rule):
    ((code, severity, _, _),) = about(rule % TO_LB)

    assert (code, severity) == ("CLV4211", "error")


def test_the_expression_that_asks_for_presence_is_no_problem():
    assert about(sending("match: [{headers: {x-a: {regex: '*'}}, queryParams: {a: {regex: '*'}}}]")) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ("request: {set: {':path': /}}", "the pseudo-header ':path' cannot be changed"),
        ("request: {remove: [Host]}", "the header 'Host' cannot be changed here"),
        ("request: {add: {host: x}}", "the header 'host' cannot be changed here"),
        ("response: {set: {host: x}}", "the header 'host' cannot be changed here"),
        ("response: {remove: ['a b']}", "'a b' is not a header name"),
        ("request: {set: {x-a: '100%'}}", "'100%' has a '%' that begins no command; write '%%' for a percent sign"),
    ],
)
def test_header_changes_that_envoy_would_refuse_are_errors(changes, what):
    ((code, severity, found, _),) = about(f"{{headers: {{{changes}}}, {TO_LB}}}")

    assert (code, severity) == ("CLV4212", "error")
    assert found.endswith(what)


def test_a_share_of_the_traffic_cannot_have_a_host_of_its_own():
    ((code, _, what, hint),) = about("{route: [{destination: {host: lb}, headers: {request: {set: {host: x}}}}]}")

    assert (code, hint) == ("CLV4212", "use 'rewrite.authority' of the rule")
    assert what.endswith("the header 'host' cannot be changed here")


def test_a_header_that_is_matched_has_a_name():
    ((code, _, what, _),) = about(sending("match: [{headers: {'a b': {}}}]"))

    assert (code, what) == ("CLV4212", "'spec.http[0].match[0].headers.a b': 'a b' is not a header name")


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ("5xx,gatway-error", "'gatway-error' is not a condition that Envoy knows", "did you mean 'gateway-error'?"),
        ("600", "'600' is not an HTTP status", ""),
    ],
)
def test_a_condition_that_never_holds_is_an_error(words, what, hint):
    ((code, _, found, found_hint),) = about(f"{{retries: {{attempts: 1, retryOn: '{words}'}}, {TO_LB}}}")

    assert (code, found, found_hint) == ("CLV4217", f"'spec.http[0].retries.retryOn': {what}", hint)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{%s}", "{match: [{uri: {prefix: /a}}], %s}"),
        ("{match: [{uri: {prefix: /}}], %s}", "{%s}"),
        ("{match: [{uri: {prefix: /a}}], %s}", "{match: [{uri: {exact: /a/b}}], %s}"),
        ("{match: [{uri: {prefix: /a}}], %s}", "{match: [{uri: {prefix: /ab}, method: {exact: GET}}], %s}"),
        ("{match: [{uri: {regex: '/x.*'}}], %s}", "{match: [{name: again, uri: {regex: '/x.*'}}], %s}"),
        ("{match: [{headers: {x-a: {exact: b}}}], %s}", "{match: [{headers: {x-a: {exact: b}, x-c: {}}}], %s}"),
    ],
)
def test_a_rule_behind_one_that_takes_all_of_its_requests_is_a_warning(first, second):
    (found,) = said(virtual_service(f"[{first % TO_LB}, {second % TO_LB}]"))

    assert found == (
        "CLV4214",
        "warning",
        "'spec.http[1]': the rule is never reached: rule 0 before it takes every request that it matches",
        "rules are tried in the order written; put the narrower one first",
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{match: [{uri: {prefix: /a}}], %s}", "{%s}"),
        ("{match: [{uri: {prefix: /a}, method: {exact: GET}}], %s}", "{match: [{uri: {prefix: /a}}], %s}"),
        ("{match: [{uri: {exact: /a}}], %s}", "{match: [{uri: {prefix: /a}}], %s}"),
        ("{match: [{sourceLabels: {app: waf}}], %s}", "{%s}"),
        ("{match: [{uri: {prefix: /a}}], %s}", "{match: [{uri: {prefix: /A}, ignoreUriCase: true}], %s}"),
        ("{match: [{headers: {x-a: {}}}], %s}", "{match: [{headers: {x-b: {}}}], %s}"),
    ],
)
def test_a_rule_that_something_is_left_for_is_not_talked_about(first, second):
    assert said(virtual_service(f"[{first % TO_LB}, {second % TO_LB}]")) == []


@pytest.mark.parametrize(
    ("match", "what"),
    [
        ("{sourceLabels: {app: nobody}}", "no workload has these labels; the match never holds"),
        ("{sourceNamespace: other}", "there is no workload in the namespace 'other'; the match never holds"),
        ("{port: 80}", "nothing that the VirtualService is bound to takes traffic on port 80; the match never holds"),
        ("{}", "the match has no condition and takes every request"),
    ],
)
def test_a_match_that_means_nothing_here_is_a_warning(match, what):
    ((code, severity, found, _),) = about(f"{{match: [{match}], {TO_LB}}}")

    assert (code, severity) == ("CLV4214", "warning")
    assert found.endswith(what)


def test_a_match_names_only_gateways_that_the_virtual_service_is_bound_to():
    ((code, _, what, hint),) = about(sending("match: [{gateways: [sdc-gateway]}]"))

    assert (code, hint) == ("CLV4208", "name it in 'spec.gateways' too")
    assert what == "'spec.http[0].match[0].gateways[0]': the VirtualService is not bound to 'sdc-gateway'"


def test_a_body_larger_than_envoy_sends_is_an_error():
    body = base64.b64encode(bytes(2**20 + 1)).decode()
    rule = {"directResponse": {"status": 200, "body": {"bytes": body}}}
    resource = VirtualService.model_validate({"metadata": {"name": "lb"}, "spec": {"hosts": ["lb"], "http": [rule]}})

    (problem,) = validate.check(policies.REGISTRY, [resource])

    assert problem.code == "CLV4216"
    assert problem.what.endswith("the body has 1048577 bytes, at most 1048576 are allowed")


def test_text_that_spans_lines_is_an_error_except_in_a_body():
    assert [code for code, *_ in about(sending('rewrite: {authority: "a\\nb"}'))] == ["CLV4104"]
    assert about('{directResponse: {status: 200, body: {string: "a\\nb"}}}') == []

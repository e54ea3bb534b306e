"""However much is written, whether it is refused is known soon and in little memory."""

import time

import pytest

from clover.mesh.istio import validate
from clover.mesh.istio.expressions import MAX_PROGRAM_SIZE, program_size, regex_problem
from clover.mesh.istio.kinds.virtual_service import HTTPMatchRequest, HTTPRoute, HTTPRouteDestination
from clover.mesh.istio.resources import VirtualService
from clover.mesh.istio.shadows import Earlier
from harness import policies

ROUTE = (HTTPRouteDestination.model_validate({"destination": {"host": "lb", "port": {"number": 9180}}}),)


def rules(count, *, start=0):
    """Return rules that share nothing but their length."""
    paths = ({"uri": {"exact": f"/{number}"}} for number in range(start, start + count))
    return tuple(HTTPRoute(match=(HTTPMatchRequest.model_validate(path),), route=ROUTE) for path in paths)


def service(name, http, *, hosts=("a.example",), gateways=("sdc-gateway",)):
    base = VirtualService.model_validate(
        {
            "metadata": {"name": name},
            "kind": "VirtualService",
            "spec": {"hosts": ["x"], "http": [{"route": [{"destination": {"host": "lb"}}]}]},
        }
    )
    spec = base.spec.model_copy(update={"hosts": hosts, "gateways": gateways, "http": http})
    return base.model_copy(update={"spec": spec})


def codes(*services):
    found = validate.check(policies.REGISTRY, (*policies.chain_resources(), *services))
    return [problem.code for problem in found if problem.where.startswith("VirtualService")]


def test_a_virtual_service_with_as_many_rules_as_are_allowed_is_checked_in_seconds():
    began = time.process_time()

    assert codes(service("x", rules(5_000))) == []
    assert time.process_time() - began < 30


def test_one_rule_more_is_refused():
    assert codes(service("x", rules(5_001))) == ["CLV4336"]


def test_a_hundred_thousand_rules_in_a_set_are_refused_before_they_are_put_together():
    block = rules(5_000)
    began = time.process_time()
    found = codes(*(service(f"x{number:02}", block) for number in range(20)))

    assert set(found) == {"CLV4336"}
    assert 16 <= len(found) <= 17
    assert time.process_time() - began < 60


def test_delegates_count_as_often_as_they_are_delegated_to():
    inner = service("inner", rules(100), hosts=(), gateways=())
    delegating = [
        {"match": [{"uri": {"prefix": "/"}, "headers": {"x": {"exact": str(number)}}}], "delegate": {"name": "inner"}}
        for number in range(100)
    ]
    root = service("root", tuple(HTTPRoute.model_validate(rule) for rule in delegating))

    assert codes(inner, root) == ["CLV4336"]


@pytest.mark.parametrize(
    "same",
    [
        {"uri": {"prefix": "/a"}},
        {"headers": {"x": {"exact": "y"}}},
        {"method": {"exact": "GET"}, "uri": {"prefix": "/"}},
    ],
)
def test_rules_that_have_something_in_common_are_told_apart_as_fast(same):
    earlier = Earlier()
    began = time.process_time()
    for number in range(5_000):
        match = HTTPMatchRequest.model_validate({**same, "queryParams": {"q": {"exact": str(number)}}})
        assert earlier.shadow_of(match) is None
        earlier.add(number, match)

    assert earlier.shadow_of(HTTPMatchRequest.model_validate({**same, "queryParams": {"q": {"exact": "7"}}})) == 7
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "pattern",
    ["((a{100}){100}){100}", "(x+x+)+y" * 2000, "a{1000}{1000}", "(" * 2000 + ")" * 2000, "[a-z]" * 8000],
    ids=["repeated repetition", "long", "nested repetition", "deep", "many classes"],
)
def test_an_expression_that_explodes_is_refused_at_once(pattern):
    began = time.process_time()

    assert regex_problem(pattern) != "" or program_size(pattern) <= MAX_PROGRAM_SIZE
    assert time.process_time() - began < 5


def test_expressions_that_are_large_together_are_refused():
    large = "a" * 8_000
    size = program_size(large)
    assert 1_000 < size <= MAX_PROGRAM_SIZE
    match = HTTPMatchRequest.model_validate({"uri": {"regex": large}})
    count = (1 << 20) // size + 1
    http = tuple(
        HTTPRoute(match=(match.model_copy(update={"query_params": {str(number): match.uri}}),), route=ROUTE)
        for number in range(count)
    )

    assert "CLV4336" in codes(service("x", http))

import pytest

from clover.mesh.istio import hosts


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "a.com", True),
        ("*.a.com", "x.a.com", True),
        ("*.a.com", "a.com", False),
        ("*.a.com", ".a.com", False),
        ("*.a.com", "*.b.a.com", True),
        ("*.b.a.com", "*.a.com", False),
        ("a.com", "a.com", True),
        ("a.com", "b.com", False),
    ],
)
def test_a_wildcard_covers_the_names_it_stands_for(pattern, host, expected):
    assert hosts.covers(pattern, host) is expected


def test_the_names_that_two_patterns_share_are_those_of_the_narrower():
    assert hosts.common("*.a.com", "x.a.com") == "x.a.com"
    assert hosts.common("x.a.com", "*") == "x.a.com"
    assert hosts.common("*.a.com", "*.b.com") is None


def test_the_most_specific_pattern_is_the_exact_one_then_the_longest():
    assert hosts.best(["*", "*.com", "*.a.com", "x.a.com"], "x.a.com") == "x.a.com"
    assert hosts.best(["*", "*.a.com", "*.com"], "x.a.com") == "*.a.com"
    assert hosts.best(["*.b.com"], "x.a.com") is None


def test_a_name_without_dots_is_a_service_of_its_own_namespace():
    assert hosts.full_host("LB", "edge") == "lb.edge.svc.cluster.local"
    assert hosts.full_host("a.com", "edge") == "a.com"
    assert hosts.full_host("*", "edge") == "*"

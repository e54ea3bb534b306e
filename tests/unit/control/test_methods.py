"""Requests as JSON: what they mean, and everything that keeps them from meaning something."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.control.methods import METHODS, json_from, request_from

APPLY = METHODS["Apply"]


def test_everything_that_is_wrong_is_said_at_once_by_its_place():
    _, violations = request_from(
        APPLY,
        {
            "configuration": {"loadBalancer": {"backends": [{"host": 5, "wieght": 3}, 7], "algorithm": "FOO"}},
            "expectedGeneration": "x",
            "dry": True,
        },
    )
    assert [violation.field for violation in violations] == [
        "configuration.loadBalancer.backends[0].host",
        "configuration.loadBalancer.backends[0].wieght",
        "configuration.loadBalancer.backends[1]",
        "configuration.loadBalancer.algorithm",
        "expectedGeneration",
        "dry",
    ]
    assert violations[1].what == "field 'wieght' is not known; did you mean 'weight'?"


def test_two_types_of_configuration_in_one_request_are_refused():
    _, violations = request_from(APPLY, {"configuration": {"cache": {}, "ids": {}}})
    assert violations


def test_a_request_and_its_json_mean_the_same():
    data = {"configuration": {"cache": {"defaultTtl": "3s", "uncachedPaths": ["/a"]}}, "dryRun": True}
    request, violations = request_from(APPLY, data)
    assert not violations
    assert request_from(APPLY, json_from(request))[0] == request
    assert json_from(request)["expectedGeneration"] == "0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["configuration", "cache", "firewall", "rules", "defaultTtl", "backends", "host", "blockPolicy"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON, st.sampled_from(list(METHODS.values())))
def test_whatever_comes_is_a_request_or_a_list_of_what_is_wrong(data, method):
    request, violations = request_from(method, data)
    assert violations or request.SerializeToString() is not None
    assert all(len(violation.what) < 400 for violation in violations)

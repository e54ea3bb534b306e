"""What a change changes is said so that somebody can act on it: as a diff, and as one line."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.control import difference
from clover.functions.state import State
from clover.spec.configuration import (
    Backend,
    BlockPolicy,
    CacheConfiguration,
    Configuration,
    FirewallConfiguration,
    HttpMatch,
    IdsConfiguration,
    IdsRule,
    LoadBalancerConfiguration,
)
from harness.configurations import configurations


def state(configuration: Configuration, generation: int = 1, **files: str) -> State:
    return State(type="any", generation=generation, configuration=configuration, files=files)


def balancer(*backends: Backend, **more: str) -> LoadBalancerConfiguration:
    return LoadBalancerConfiguration(backends=backends, **more)  # type: ignore[arg-type]


def rules(count: int, suffix: str = "") -> IdsConfiguration:
    return IdsConfiguration(
        rules=tuple(
            IdsRule(id=number, message=f"m{number}{suffix}", http=HttpMatch(field="uri", contains=f"e{number}"))
            for number in range(1, count + 1)
        )
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (balancer(Backend(host="a")), balancer(Backend(host="b"), Backend(host="c")), "backends: a → b, c"),
        (balancer(Backend(host="a")), balancer(Backend(host="a", port=81)), "backends: a → a:81"),
        (balancer(Backend(host="a")), balancer(Backend(host="a", weight=5)), "a: weight 1 → 5"),
        (
            balancer(Backend(host="a"), Backend(host="b")),
            balancer(Backend(host="a", state="drain"), Backend(host="b")),
            "a: state ready → drain",
        ),
        (
            balancer(Backend(host="a"), Backend(host="b")),
            balancer(Backend(host="b"), Backend(host="a")),
            "backends: a, b → b, a",
        ),
        (balancer(), balancer(algorithm="random"), "algorithm: round-robin → random"),
        (CacheConfiguration(), CacheConfiguration(default_ttl=0.5), "default-ttl: 10 s → 0.5 s"),
        (
            FirewallConfiguration(excluded_rules=(1, 2)),
            FirewallConfiguration(excluded_rules=(2, 3)),
            "excluded-rules: +3 -1",
        ),
        (
            FirewallConfiguration(),
            FirewallConfiguration(block_policy=BlockPolicy(duration=20, dry_run=True, allow=("10.0.0.0/8", "::1/128"))),
            "block-policy: none → (duration=20s allow=10.0.0.0/8,::1/128 dry-run=true)",
        ),
        (rules(2), rules(3), "rules: +3"),
        (rules(2), rules(2, "x"), "rules: ~1 ~2"),
        (rules(2), rules(2000, "x"), "rules: 2 → 2000, 2000 changed"),
    ],
)
def test_one_line_says_what_has_changed(before: Configuration, after: Configuration, said: str):
    assert difference.summary(state(before), state(after, 2)) == said


def test_files_are_named_by_what_happened_to_them():
    before = state(balancer(), a="files/1", b="files/2")
    after = state(balancer(), 2, b="files/3", c="files/1")

    assert difference.summary(before, after) == "files: +c -a ~b"
    assert "+  b: '3'" in difference.diff(before, after)


def test_a_diff_is_of_what_people_write():
    before, after = state(balancer(Backend(host="a"))), state(balancer(Backend(host="b", weight=2)), 2)

    assert difference.diff(before, after) == (
        "--- generation 1\n+++ generation 2\n@@ -1,2 +1,3 @@\n backends:\n-- host: a\n+- host: b\n+  weight: 2\n"
    )


def test_thousands_of_rules_are_compared_in_a_moment():
    for other in (rules(2000, "x"), rules(1999)):
        began = time.process_time()
        text = difference.diff(state(rules(2000)), state(other, 2))
        assert text.startswith("--- generation 1\n+++ generation 2\n@@ -")
        assert time.process_time() - began < 3


@given(configurations, configurations)
@settings(max_examples=60, deadline=None)
def test_a_summary_is_one_line_of_moderate_length_whatever_changed(before: Configuration, after: Configuration):
    if type(before) is not type(after):
        return
    text = difference.summary(state(before), state(after, 2))

    assert len(text) <= difference.MOST_SUMMARY
    assert bool(text) == (before != after)
    assert "\n" not in text


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.lists(st.sampled_from("abcdefgh"), max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_long_diff_leads_from_one_to_the_other_too(old: list[str], new: list[str]):
    lines = list(difference._one_hunk(old, new, "old", "new"))

    assert bool(lines) == (old != new)
    if lines:
        match = re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", lines[2])
        assert match is not None
        start, length = int(match[1]) - 1, int(match[2])
        hunk = lines[3:]
        assert old[start : start + length] == [line[1:] for line in hunk if line[0] in " -"]
        assert new == [*old[:start], *(line[1:] for line in hunk if line[0] in " +"), *old[start + length :]]
        assert int(match[4]) == sum(line[0] in " +" for line in hunk)

"""`KEY=VALUE`: what each expression changes, and what it is told when it cannot."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.cli import expressions
from clover.errors import DocumentError
from clover.spec.configuration import (
    MODELS,
    Backend,
    BlockPolicy,
    CacheConfiguration,
    FirewallConfiguration,
    FirewallRule,
    LoadBalancerConfiguration,
)

BALANCER = LoadBalancerConfiguration(
    backends=(Backend(host="a", weight=3), Backend(host="b", port=80), Backend(host="b", port=81, state="drain"))
)
FIREWALL = FirewallConfiguration(
    backends=(Backend(host="a"),),
    excluded_rules=(920350, 942100),
    rules=(FirewallRule(id=100_001, target="uri", value="x"), FirewallRule(id=100_002, target="uri", value="y")),
    block_policy=BlockPolicy(threshold=2),
)


def changed(configuration, *texts):
    (type_,) = (name for name, model in MODELS.items() if isinstance(configuration, model))
    return expressions.changed(type_, configuration, [expressions.parse(text) for text in texts]).configuration


def problem(configuration, text):
    with pytest.raises(DocumentError) as caught:
        changed(configuration, text)
    (found,) = caught.value.problems
    return f"{found.where}: {found.what}" + (f"; {found.hint}" if found.hint else "")


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("mode=detection-only", "mode", "detection-only"),
        ("paranoia-level=2", "paranoia_level", 2),
        ("paranoiaLevel=2", "paranoia_level", 2),
        (" paranoia-level = 2 ", "paranoia_level", 2),
        ("excluded-rules=1,2, 3,", "excluded_rules", (1, 2, 3)),
        ("excluded-rules=", "excluded_rules", ()),
        ("excluded-rules+=1,920350", "excluded_rules", (920350, 942100, 1)),
        ("excluded-rules-=920350", "excluded_rules", (942100,)),
        ("denied-networks=10.1.2.3/8,2001:db8::1", "denied_networks", ("10.0.0.0/8", "2001:db8::1/128")),
        ("block-policy=none", "block_policy", None),
        ("block-policy.window=1m30s", "block_policy", BlockPolicy(threshold=2, window=90.0)),
        ("block-policy.dry-run=yes", "block_policy", BlockPolicy(threshold=2, dry_run=True)),
        ("block-policy.allow+=10.0.0.0/8", "block_policy", BlockPolicy(threshold=2, allow=("10.0.0.0/8",))),
        ("rules-=100001", "rules", FIREWALL.rules[1:]),
        (
            "rules.100002.action=log",
            "rules",
            (FIREWALL.rules[0], FIREWALL.rules[1].model_copy(update={"action": "log"})),
        ),
        ("rules=", "rules", ()),
    ],
)
def test_a_field_of_a_firewall(text, field, value):
    after = changed(FIREWALL, text)

    assert after == FIREWALL.model_copy(update={field: value})


@pytest.mark.parametrize(
    ("text", "backends"),
    [
        ("backends=a,c", (Backend(host="a", weight=3), Backend(host="c"))),
        ("backends=b:81,c:90", (Backend(host="b", port=81, state="drain"), Backend(host="c", port=90))),
        ("backends+=a,c", (*BALANCER.backends, Backend(host="c"))),
        ("backends-=a", BALANCER.backends[1:]),
        ("backends-=b:80", (BALANCER.backends[0], BALANCER.backends[2])),
        ("backends.a.weight=50", (Backend(host="a", weight=50), *BALANCER.backends[1:])),
        ("backends.b:81.state=ready", (*BALANCER.backends[:2], Backend(host="b", port=81))),
        ("backends.a.port=none", BALANCER.backends),
    ],
)
def test_the_backends_of_a_load_balancer(text, backends):
    assert changed(BALANCER, text).backends == backends


def test_a_part_that_is_not_there_is_made():
    assert changed(FirewallConfiguration(), "block-policy.threshold=1").block_policy == BlockPolicy(threshold=1)


def test_several_expressions_are_one_change_and_the_later_sees_the_earlier():
    after = changed(CacheConfiguration(), "backends=web", "backends.web.weight=9", "uncached-paths=/a,/b")

    assert after == CacheConfiguration(backends=(Backend(host="web", weight=9),), uncached_paths=("/a", "/b"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("moed=off", "the configuration has no field 'moed'; did you mean 'mode'?"),
        ("mode=of", "'mode' is text 'of', expected 'blocking', 'detection-only' or 'off'; did you mean 'off'?"),
        ("mode.x=1", "'mode' has no fields of its own; mode=VALUE sets it"),
        ("mode+=off", "'mode' is no list: '+=' means nothing; write ="),
        ("paranoia-level=high", "'paranoia-level' is text 'high', expected a whole number"),
        ("paranoia-level=9", "'paranoia-level' is the number 9, expected 1 to 4"),
        ("paranoiaLevel=9", "'paranoiaLevel' is the number 9, expected 1 to 4"),
        ("blockPolicy.windw=1s", "'blockPolicy' has no field 'windw'; did you mean 'window'?"),
        ("block-policy.windw=1s", "'block-policy' has no field 'windw'; did you mean 'window'?"),
        ("block-policy.window=9", "'block-policy.window' is text '9', "
            "expected a duration such as '30s', '1m30s' or '500ms'"),
        ("block-policy.dry-run=maybe", "'block-policy.dry-run' is text 'maybe', expected true or false"),
        ("block-policy=1", "'block-policy' has fields of its own, expected one of them; "
            "for example: block-policy.threshold=..., or block-policy=none"),
        ("excluded-rules-=7", "'excluded-rules' has no '7'"),
        ("excluded-rules=1,x", "'excluded-rules[1]' is text 'x', expected a whole number"),
        ("backends.b.weight=1", "'backends': 'b' is none of them; there are: a"),
        ("backends.a=1", "'backends.a' is an item of a list, expected a field of it; backends.a.state=..."),
        ("rules=x", "an item of 'rules' has fields of its own, which do not fit here; "
            "change it in a file: clover control FUNCTION show -o yaml prints one that apply takes"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_with_the_expression_that_asked_for_it(text, told):
    assert problem(FIREWALL, text) == f"{text}: {told}"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (("backends", 1, "host"), "backends=a,nobody"),
        (("backends",), "backends=a,nobody"),
        (("mode",), "mode=off"),
        (("paranoiaLevel",), "paranoia-level"),
        ((), "backends=a,nobody"),
    ],
)
def test_what_an_ambassador_says_of_a_field_is_said_of_the_expression_that_set_it(path, where):
    parsed = [expressions.parse(text) for text in ("backends=a,nobody", "mode=off")]

    assert expressions.changed("firewall", FIREWALL, parsed).place(path) == where


def test_a_host_that_is_there_twice_is_told_apart_by_its_port():
    assert problem(BALANCER, "backends.b.weight=1") == (
        "backends.b.weight=1: 'backends': 'b' names several of them; there are: a, b:80, b:81"
    )


@pytest.mark.parametrize("text", ["", "=", "a", "=1", "+=1", "a..b=1", ".a=1", "a.=1"])
def test_what_is_no_expression_is_told_what_one_looks_like(text):
    with pytest.raises(DocumentError, match="CLV5206"):
        expressions.parse(text)


_KEYS = st.lists(
    st.sampled_from(
        ["backends", "rules", "block-policy", "weight", "host", "mode", "a", "b:80", "100001", "sites", "x"]
    ),
    min_size=1,
    max_size=4,
).map(".".join)


@given(
    st.sampled_from(sorted(MODELS)),
    st.one_of(_KEYS, st.text(max_size=20)),
    st.sampled_from(["=", "+=", "-="]),
    st.text(),
)
def test_no_expression_ends_in_anything_but_a_configuration_or_problems(type_, key, operator, value):
    current = {"firewall": FIREWALL, "load-balancer": BALANCER}.get(type_, MODELS[type_]())

    try:
        after = expressions.changed(type_, current, [expressions.parse(f"{key}{operator}{value}")]).configuration
    except DocumentError:
        return
    assert MODELS[type_].model_validate(after.as_json()) == after


@given(st.lists(st.integers(min_value=1, max_value=9_999_999), unique=True, max_size=20))
def test_a_list_that_was_set_is_the_list(ids):
    assert changed(FIREWALL, f"excluded-rules={','.join(map(str, ids))}").excluded_rules == tuple(ids)


@given(st.text(min_size=1).filter(lambda key: not re.search(r"[.=+-]", key) and key.strip()), st.text())
def test_the_first_equals_sign_ends_the_key(key, value):
    parsed = expressions.parse(f"{key}={value}")

    assert (parsed.keys, parsed.operator, parsed.value) == ((key.strip(),), "=", value.strip())

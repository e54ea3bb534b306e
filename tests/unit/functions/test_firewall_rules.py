"""An author's rules in ModSecurity's language: no text is read as that language, or loses its meaning."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import FunctionError
from clover.functions.driver import Settings
from clover.functions.modsecurity import networks, rules
from clover.functions.modsecurity.driver import Firewall
from clover.spec.configuration import Backend, FirewallConfiguration, FirewallRule

FIREWALL = Firewall()


def settings(**configuration: object) -> Settings:
    return Settings(
        workload="waf",
        function="waf",
        version="v1",
        port=9180,
        configuration=FirewallConfiguration(backends=(Backend(host="web"),), **configuration),
        directory="/run/clover/c/w/waf",
    )


def rule(**fields: object) -> FirewallRule:
    return FirewallRule(**{"id": 100_000, "target": "path", "value": "/x", **fields})


def rendered(**configuration: object) -> str:
    return FIREWALL.render(settings(**configuration)).files["modsecurity.conf"]


@given(st.text(min_size=1, max_size=40))
def test_a_literal_is_a_regular_expression_that_matches_its_bytes_and_no_others(text):
    pattern = rules.literal(text)

    assert rules.PATTERN.fullmatch(pattern)
    assert re.fullmatch(pattern.encode(), text.encode(), re.DOTALL)
    assert not re.fullmatch(pattern.encode(), text.encode() + b"x", re.DOTALL)
    assert not set(pattern) & set("\"'%` \n")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (r"^/api/v\d+/", r"^/api/v\d+/"),
        ("a\"b'c%{d} `e`", r"a\x22b\x27c\x25{d}\x20\x60e\x60"),
        (r"\"\'\%\\\\\ ", r"\x22\x27\x25\x5c\x5c\x20"),
        (r"[\"'%\]. =:-]+", r"[\x22\x27\x25\]\x2e\x20\x3d\x3a-]+"),
        (r"(?i)(?:a|b){2,3}?\b[[:alpha:]\d]\x41", r"(?i)(?:a|b){2,3}?\b[[:alpha:]\d]\x41"),
    ],
)
def test_a_regular_expression_keeps_its_meaning_without_what_modsecurity_reads(written, told):
    assert rules.expression(written) == told


@pytest.mark.parametrize(
    "text",
    [
        *("(abc", "a**", "[a", "\\", r"(a)\1", "(?=a)", "(?<!a)b", "(?>a)", "a++", "x{2000}", "*"),
        *(r"\Qa.b\E", r"\pL", r"\p{Greek}", r"\C", r"\v", r"[\d-z]", "[[.a.]]", "^*", r"\z+", "a(?i)*", "(?U)a", "é"),
    ],
)
def test_what_engines_do_not_read_alike_is_refused(text):
    with pytest.raises(ValueError, match=r"regular expression"):
        rules.expression(text)


def test_every_target_has_a_variable_and_the_body_is_waited_for():
    found = {
        target: rules.rule_from(rule(target=target, name="a" if target in ("header", "argument", "cookie") else ""))
        for target in rules.VARIABLES
    }

    assert found["header"].variables == "REQUEST_HEADERS:a"
    assert found["argument"].variables == "ARGS:a|ARGS:json.a"
    assert {target for target, told in found.items() if told.phase == 2} == {"body", "argument"}


def test_a_message_keeps_its_words_and_loses_its_quotes():
    assert rules.message('it\'s "100%" \\o/, é☃') == "it’s ”100％” ＼o/, é☃"


def test_ids_without_gaps_are_told_as_ranges():
    told = [(part.first, part.last) for part in rules.ranges_from([5, 3, 2, 9, 2])]

    assert told == [(2, 3), (5, 5), (9, 9)]


def test_the_configuration_decides_over_the_machines_own_setup_file():
    text = rendered(mode="detection-only", paranoia_level=3, anomaly_threshold=20, excluded_rules=(942_100, 942_101))

    assert "SecRuleEngine DetectionOnly\n" in text
    assert "setvar:tx.paranoia_level=3,setvar:tx.executing_paranoia_level=3" in text
    assert "setvar:tx.inbound_anomaly_score_threshold=20" in text
    assert (
        text.index("crs-setup.conf") < text.index("id:10010") < text.index("rules/*.conf") < text.index("942100-942101")
    )


def test_all_that_the_engine_cannot_be_told_is_reported_at_once():
    bad = settings(
        rules=(rule(operator="regex", value="(a"), rule(operator="regex", value=r"(a)\1"), rule(id=100_001)),
        excluded_rules=(942_100, 10_001),
    )

    with pytest.raises(FunctionError) as refused:
        FIREWALL.render(bad)

    assert [problem.code for problem in refused.value.problems] == ["CLV3220", "CLV3220", "CLV3221", "CLV3222"]
    assert str(refused.value.problems[0]) == (
        "workload 'waf': error: function 'waf' has rule 100000, whose value cannot be used: "
        "not a regular expression that RE2 takes: missing ): (a [CLV3220]"
    )


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_is_told_as_nginx_compares_it(given_, told):
    assert networks.word_from(given_) == told


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::102:304", "::1.2.3.4"),
        ("::1", "::1"),
        ("::", "::"),
    ],
)
def test_a_client_is_named_as_nginx_names_it(address, name):
    assert networks.client_from(address) == name
    assert ipaddress.ip_address(name)


@given(st.ip_addresses())
def test_a_clients_name_is_a_file_name_and_reads_as_the_client(address):
    name = networks.client_from(str(address))

    assert re.fullmatch(r"[0-9a-f.:]+", name)
    assert ipaddress.ip_address(name) == (getattr(address, "ipv4_mapped", None) or address)

import json

import trace_answers as answers
from hypothesis import given
from hypothesis import strategies as st

from clover.cli import loglines

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["log", "transaction", "messages", "details", "ruleId", "message", "cache", "bytes", "duration_ms", "status"]
    ), inner, max_size=5),
)  # fmt: skip


def line(body, **attributes):
    return answers.log("web", body, ms=0, **attributes)


def test_the_error_line_and_the_audit_record_of_one_refusal_are_one_verdict():
    said = loglines.verdict([line(answers.DENIED), line(answers.AUDITED)])

    assert said is not None
    assert said.blocked
    assert [finding.rule for finding in said.findings] == ["949110", "942100"]
    assert said.findings[1].data.startswith("Matched Data: s&1c found within ARGS:id")


def test_rules_that_only_warn_do_not_block():
    said = loglines.verdict(
        [line('ModSecurity: Warning. Matched "x" [id "920350"] [msg "Host header is a numeric IP"]')]
    )

    assert said is not None
    assert not said.blocked
    assert said.findings[0].message == "Host header is a numeric IP"


def test_a_function_that_never_spoke_of_rules_has_no_verdict():
    assert loglines.verdict([line("listening on 9180"), line('{"log":"access","status":200}')]) is None


def test_an_access_record_becomes_few_words():
    body = '{"log":"access","method":"GET","path":"/a","status":200,"bytes":2048,"duration_ms":1.25,"cache":"HIT"}'

    assert loglines.summary(line(body)) == "GET /a 200, 2.0 kB, 1.25 ms, cache HIT"
    assert loglines.cache(line(body)) == "HIT"


def test_a_duration_that_an_engine_took_for_nothing_is_left_out():
    body = '{"log":"access","method":"GET","path":"/","status":403,"duration_ms":0.000}'

    assert loglines.summary(line(body)) == "GET / 403"


def test_a_sidecars_record_says_its_flags_and_why():
    record = line("x", log="envoy", direction="outbound", method="GET", path="/", status="503", flags="UF",
                  upstream_failure="connection refused", details="via_upstream")  # fmt: skip

    assert loglines.summary(record) == "outbound GET / 503 UF, connection refused"


@given(JSON.map(json.dumps) | st.text())
def test_any_line_has_a_summary_and_no_line_breaks_the_view(body):
    assert "\x1b" not in loglines.summary(line(body))
    loglines.verdict([line(body)])
    loglines.cache(line(body))

from datetime import UTC

import pytest
import trace_answers as answers
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from clover.cli import render_trace, screen


def text(trace, *, width=100, **options):
    return "".join(f"{line.plain}\n" for line in render_trace.lines(trace, width=width, zone=UTC, **options))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("case", ["through_v1", "blocked", "broken", "alerted", "refused_client", "controlled"])
def test_a_trace_is_drawn_as_its_golden_shows(golden, case, width):
    golden(f"cli/trace-{case.replace('_', '-')}-{width}.txt", text(getattr(answers, case)(), width=width))


def test_every_span_and_log_line_is_there_in_full(golden):
    golden("cli/trace-full.txt", text(answers.through_v1(), full=True))


def test_no_line_of_the_drawing_is_wider_than_asked():
    drawn = text(answers.through_v1(), width=80).split("LOG LINES")[0]

    assert max(map(cell_len, drawn.splitlines())) <= 80


def test_a_request_that_the_firewall_blocked_says_so_below_the_firewall_with_the_rules():
    lines = text(answers.blocked()).splitlines()
    (at,) = [number for number, line in enumerate(lines) if "└ access-control" in line]

    assert (
        "✗ blocked by the firewall's rules: Inbound Anomaly Score Exceeded (Total Score: 5) [949110]" in lines[at + 1]
    )
    assert "SQL Injection Attack Detected via libinjection [942100]" in lines[at + 2]


def test_an_incomplete_trace_says_what_is_missing():
    drawn = text(answers.broken())

    assert "✗ incomplete" in drawn
    assert "http-lb-v2: its sidecar's access log names this trace" in drawn


def test_a_call_that_failed_names_its_cluster_and_its_flags():
    assert "✗ call to outbound|9180|v2|http-lb.default.svc.cluster.local failed: 503 UF" in text(answers.broken())


def test_a_terminal_without_unicode_gets_the_same_drawing_in_plain_signs():
    drawn = text(answers.through_v1(), marks=screen.ASCII)

    assert drawn.isascii()
    assert "` access-control" in drawn


def test_a_trace_without_spans_is_no_accident():
    empty = answers.trace(
        [], [answers.log("web", "hello", ms=1)], complete=False, incompleteBecause=["no span arrived"]
    )

    assert text(empty).splitlines() == [
        f"trace {answers.TRACE_ID}",
        "✗ incomplete  0 hops, 0 spans",
        "  no span arrived",
        "",
        "LOG LINES",
        "  +0.00 ms  web v1  hello",
    ]


def test_a_users_own_span_stands_below_its_hop():
    trace = answers.through_v1()
    trace["spans"].append(
        answers.span("u1", parent="s2", at="clover-server2", kind="Internal", begin=3.6, end=4.4, own=0.8,
                     proxy=False, name="SELECT shoes")
    )  # fmt: skip

    assert "internal SELECT shoes  0.80 ms" in text(trace)


@given(st.text(), st.text())
def test_hostile_names_and_lines_never_reach_the_terminal_raw(name, body):
    trace = answers.trace(
        [answers.span("s1", at="web", begin=0, end=1, own=1, name=name, http__method="GET", http__url=name)],
        [answers.log("web", body, ms=0)],
    )

    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text(trace).replace("\n", ""))


def test_an_alert_stands_below_the_hop_that_raised_it_with_how_sure_it_is():
    lines = text(answers.alerted()).splitlines()
    (at,) = [number for number, line in enumerate(lines) if "├ ids (copy)" in line]

    assert lines[at + 1].strip("│ ") == (
        'alert "a scanner" (rule 9000001, severity 1, joined by flow and transaction, client 192.0.2.7)'
    )


def test_the_line_of_a_tree_goes_on_to_the_next_sibling_past_notes_and_grandchildren():
    spans = [
        *answers.gateway(end=9),
        answers.span("g3", parent="g1", at="gateway", kind="Client", begin=5, end=8, own=0),
        *answers.visit("a", parent="g2", at="web", begin=1, end=4, code="503"),
        *answers.visit("i", parent="a2", at="store", begin=2, end=3),
        answers.span("own", parent="i2", at="store", kind="Internal", begin=2.2, end=2.6, own=1, proxy=False),
        *answers.visit("b", parent="g3", at="web", begin=5, end=8),
    ]
    lines = text(answers.trace(spans)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("HOP"))

    assert [line[:10].rstrip() for line in lines[at + 1 : at + 6]] == [
        "gateway", "├ web", "│ └ store", "│     inte", "└ web"
    ]  # fmt: skip


def test_what_copies_took_stands_below_the_sums_of_the_request():
    trace = answers.alerted()
    trace["beside"].insert(1, {"service": "web", "version": "v1", "proxyMs": 0, "functionMs": 0, "networkMs": 0})
    drawn = text(trace)

    (at,) = [number for number, line in enumerate(drawn.splitlines()) if line.startswith("beside it")]
    assert [line.split() for line in drawn.splitlines()[at + 1 : at + 3]] == [
        ["waf", "-", "-", "0.80", "ms"],
        ["ids", "2.20", "ms", "0.20", "ms", "-"],
    ]


def test_what_was_changed_before_stands_with_how_long_before_and_the_rest_is_counted():
    trace = answers.alerted()
    trace["changes"] *= 3

    lines = text(trace).splitlines()

    at = lines.index("CHANGED BEFORE")
    assert lines[at + 1] == "-12.50 s  http-lb@v2  generation 3 > 4: algorithm: round-robin → random"
    assert lines[at + 4] == "  and 3 changes before that: clover changes"
    assert "before that" not in text(trace, full=True)


def test_a_client_that_is_blocked_is_told_apart_from_a_request_that_a_rule_refused():
    drawn = text(answers.refused_client())

    assert "✗ refused: client 192.0.2.7 is blocked for now (see: clover firewall list)" in drawn
    assert "client blocked, generation 4" in drawn


def test_a_call_that_failed_has_its_grpc_status_and_its_steps_below_the_ambassador():
    lines = text(answers.controlled()).splitlines()

    assert lines[0] == "clover.control.v1.Ambassador/Apply  ABORTED  231 ms  http-lb-v2"
    assert [line.split()[1] for line in lines if line.strip().startswith("internal ")] == [
        "render", "write", "check", "activate", "confirm",
    ]  # fmt: skip


def test_who_denied_a_request_and_what_a_tried_policy_would_have_done_stand_below_the_hop():
    denied = answers.log("web", "GET /x 403", ms=0.2, span_id="a1", log="envoy", status="403", flags="-")
    denied |= {"why": "denied by AuthorizationPolicy default/x (rule 1)", "remarks": ["noted by an AUDIT policy"]}
    spans = answers.visit("a", parent="", at="web", begin=0, end=1, code="403")

    lines = [line.strip() for line in text(answers.trace(spans, [denied])).splitlines()]
    at = lines.index("✗ denied by AuthorizationPolicy default/x (rule 1)")
    assert lines[at - 1].startswith("web")
    assert lines[at + 1] == "noted by an AUDIT policy"

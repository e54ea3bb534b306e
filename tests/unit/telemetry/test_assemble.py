"""How a trace is put together; see also the traces of a real Envoy in tests/envoy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.telemetry.query.assemble import assemble, is_copy
from clover.telemetry.records import LogLine, Span

MS = 1_000_000


def span(span_id: str, parent: str = "", *, at: float = 0, ms: float = 10, **more) -> Span:
    return Span(
        **(
            {"service": "lb", "version": "v1", "workload": "lb", "name": "GET", "kind": "Internal"}
            | more
            | {
                "span_id": span_id,
                "parent_span_id": parent,
                "start_unix_nano": 1_700_000_000_000_000_000 + round(at * MS),
                "duration_ms": ms,
            }
        )
    )


def proxy(
    span_id: str, parent: str, kind: str, cluster: str, *, at: float, ms: float, workload: str, **attributes
) -> Span:
    return span(
        span_id,
        parent,
        at=at,
        ms=ms,
        service=workload,
        workload=workload,
        kind=kind,
        proxy=True,
        attributes={
            "component": "proxy",
            "upstream_cluster.name": cluster,
            "http.status_code": "200",
            "response_flags": "-",
        }
        | attributes,
    )


def record(span_id: str, workload: str = "lb", **attributes) -> LogLine:
    return LogLine(
        timestamp_unix_nano=1_700_000_000_000_000_000,
        service=workload,
        version="v1",
        workload=workload,
        span_id=span_id,
        body=f"GET / {span_id}",
        attributes={"log": "envoy"} | attributes,
    )


def two_hops() -> tuple[list[Span], list[LogLine]]:
    """Gateway → firewall → server: every span and record that their Envoys make, with times that add up."""
    spans = [
        proxy("g1", "", "Server", "outbound|9180||fw", at=0, ms=20, workload="gateway"),
        proxy("g2", "g1", "Client", "outbound|9180||fw", at=1, ms=18, workload="gateway"),
        proxy("f1", "g2", "Server", "inbound|9180||", at=2, ms=16, workload="fw"),
        proxy("f2", "f1", "Client", "inbound|9180||", at=3, ms=14, workload="fw"),
        proxy("f3", "f2", "Server", "outbound|9180||web", at=6, ms=8, workload="fw"),
        proxy("f4", "f3", "Client", "outbound|9180||web", at=7, ms=6, workload="fw"),
        proxy("w1", "f4", "Server", "inbound|9180||", at=8, ms=4, workload="web"),
        proxy("w2", "w1", "Client", "inbound|9180||", at=9, ms=2, workload="web"),
    ]
    return spans, [record(s.span_id, s.workload) for s in spans if s.kind == "Server"]


def whole(shares) -> float:
    return sum(share.proxy_ms + share.function_ms + share.network_ms for share in shares)


def reasons(spans, logs=()) -> tuple[str, ...]:
    return assemble("t", spans, logs).incomplete_because


def test_a_whole_trace_is_complete_and_says_where_its_time_went():
    trace = assemble("t", *two_hops())

    assert trace.complete
    assert trace.incomplete_because == ()
    assert trace.duration_ms == 20
    assert [s.span_id for s in trace.spans] == ["g1", "g2", "f1", "f2", "f3", "f4", "w1", "w2"]
    assert [(s.service, s.proxy_ms, s.function_ms, s.network_ms) for s in trace.breakdown] == [
        ("gateway", 2, 0, 2),
        ("fw", 4, 6, 2),
        ("web", 2, 2, 0),
    ]
    assert sum(s.proxy_ms + s.function_ms + s.network_ms for s in trace.breakdown) == trace.duration_ms


def test_the_order_in_which_spans_arrive_changes_nothing():
    spans, logs = two_hops()

    assert assemble("t", spans[::-1], logs[::-1]) == assemble("t", spans, logs)


def test_a_span_or_record_that_was_sent_twice_counts_once():
    spans, logs = two_hops()

    assert assemble("t", spans * 2, logs * 2) == assemble("t", spans, logs)


def test_children_that_ran_at_once_are_subtracted_once():
    trace = assemble("t", [span("a", ms=10), span("b", "a", at=1, ms=5), span("c", "a", at=3, ms=5)], ())

    assert {s.span_id: s.self_ms for s in trace.spans} == {"a": 3, "b": 5, "c": 5}


def test_a_child_that_outlives_its_parent_takes_only_the_parents_time():
    trace = assemble("t", [span("a", ms=10), span("b", "a", at=8, ms=50)], ())

    assert trace.spans[0].self_ms == 8


def test_of_calls_at_once_the_time_is_the_ones_that_was_waited_for():
    spans = [
        span("a", ms=10, service="a", workload="a"),
        span("b", "a", at=1, ms=5, service="b", workload="b"),
        span("c", "a", at=3, ms=5, service="c", workload="c"),
    ]

    trace = assemble("t", spans, ())

    assert {share.service: share.function_ms for share in trace.breakdown} == {"a": 3, "b": 2, "c": 5}


def test_a_copy_takes_no_time_from_the_request_and_stands_beside_it():
    spans, logs = two_hops()
    copy = [
        proxy("m1", "g1", "Client", "outbound|9180||ids", at=1, ms=40, workload="gateway"),
        proxy("i1", "m1", "Server", "inbound|9180||", at=2, ms=30, workload="ids"),
        proxy("i2", "i1", "Client", "inbound|9180||", at=3, ms=25, workload="ids"),
    ]
    copy[0] = replace(copy[0], name="mirror")

    with_copy = assemble("t", [*spans, *copy], [*logs, record("i1", "ids")])

    assert with_copy.complete
    assert with_copy.breakdown == assemble("t", spans, logs).breakdown
    assert [(s.service, s.proxy_ms, s.function_ms, s.network_ms) for s in with_copy.beside] == [
        ("gateway", 0, 0, 10),
        ("ids", 5, 25, 0),
    ]
    assert {s.span_id: s.self_ms for s in with_copy.spans}["g1"] == 2


@pytest.mark.parametrize("skew_ms", [-3600_000, -4, 3600_000])
def test_a_childs_wrong_clock_does_not_turn_its_time_into_its_parents(skew_ms):
    trace = assemble("t", [span("a", ms=10), span("b", "a", at=skew_ms, ms=6)], ())

    assert trace.spans[0].self_ms == 4
    assert [s.span_id for s in trace.spans] == ["a", "b"]


def test_two_attempts_under_one_request_both_count_and_waiting_between_them_is_the_proxys():
    spans = [
        proxy("a", "", "Server", "outbound|1||x", at=0, ms=30, workload="gateway"),
        proxy("b", "a", "Client", "outbound|1||x", at=0, ms=5, workload="gateway", response_flags="UF"),
        proxy("c", "a", "Client", "outbound|1||x", at=25, ms=5, workload="gateway", response_flags="UF"),
    ]
    trace = assemble("t", spans, [record("a", "gateway")])

    assert trace.complete
    (share,) = trace.breakdown
    assert (share.proxy_ms, share.network_ms) == (20, 10)


def test_the_time_of_a_users_own_spans_is_their_functions():
    spans, logs = two_hops()
    own = span("own", "w2", at=9.5, ms=1, service="web", workload="web")

    trace = assemble("t", [*spans, own], logs)

    assert trace.complete
    assert trace.breakdown[-1].function_ms == 2


def test_a_missing_parent_is_named_with_its_child():
    spans, logs = two_hops()

    assert reasons([s for s in spans if s.span_id != "f2"], logs) == (
        "span f3 of 'fw' has the parent f2, which is missing",
    )


def test_a_request_that_reached_no_sidecar_and_has_no_flag_to_say_so_is_missing():
    spans, logs = two_hops()

    assert reasons(spans[:6], logs[:3]) == (
        "'fw' sent a request to 'outbound|9180||web' (span f4), whose span is missing",
    )


def test_a_record_without_its_span_and_a_span_without_its_record_are_both_missing():
    spans, logs = two_hops()

    assert reasons(spans, [*logs[:-1], record("lost", "web")]) == (
        "'web' logged a request under span lost, which is missing",
        "'web' has span w1, whose access log record is missing",
    )


def test_a_function_that_logged_its_next_hop_has_a_sidecar_that_saw_it():
    spans, logs = two_hops()
    line = record("x", "web", log="access", upstream="10.96.0.9:9180")

    assert reasons(spans, [*logs, line]) == (
        "'web' logged that it asked 10.96.0.9:9180, and no span of its sidecar tells of that",
    )
    for nobody in ("", "-", "-:-", "-:0"):
        assert reasons(spans, [*logs, replace(line, attributes={"log": "access", "upstream": nobody})]) == ()


def test_a_sidecar_that_answered_itself_saw_its_function_ask():
    spans, logs = two_hops()
    # No route, a redirect, a direct response: there is no cluster that the request was sent to.
    answered = proxy("f3", "f2", "Server", "", at=6, ms=1, workload="fw", response_flags="NR")
    asked = record("x", "fw", log="access", upstream="10.96.0.9:9180")

    assert reasons([*spans[:4], answered], [*logs[:3], asked]) == ()


def test_the_gateway_may_continue_a_trace_that_a_client_began_more_than_once():
    entry = proxy("a", "client", "Server", "", at=0, ms=5, workload="gateway")
    again = replace(entry, span_id="b")

    assert reasons([entry, again], [record("a", "gateway"), record("b", "gateway")]) == ()


def test_a_foreign_parent_anywhere_else_is_a_missing_one():
    elsewhere = proxy("a", "client", "Server", "", at=0, ms=5, workload="fw")

    assert reasons([elsewhere], [record("a", "fw")]) == ("span a of 'fw' has the parent client, which is missing",)


def test_a_trace_that_begins_twice_says_so():
    assert reasons([span("a"), span("b")]) == ("2 spans have no parent, and a trace has one beginning",)


def test_spans_that_are_one_anothers_parents_are_shown_and_named():
    trace = assemble("t", [span("a", "b"), span("b", "a")], ())

    assert {s.span_id for s in trace.spans} == {"a", "b"}
    assert trace.incomplete_because == ("span a of 'lb' is its own ancestor",)


SERVER = proxy("a", "", "Server", "", at=0, ms=10, workload="gateway")


def test_a_trace_that_no_policy_keeps_says_so_and_speaks_of_no_loss():
    function = record("", log="access", upstream="10.96.0.9:9180")
    sent = record("b", direction="outbound", spans_kept="10 %")
    found = assemble("t", [], [record("a", "gateway", spans_kept="10 %"), sent, function])

    assert found.incomplete_because == (
        "'gateway' keeps the spans of 10 % of all traces, and this one is not among them",
        "'lb' keeps the spans of 10 % of all traces, and this one is not among them",
    )


def test_a_record_that_a_policy_leaves_out_is_not_missed():
    lone = replace(SERVER, attributes=SERVER.attributes | {"logs_kept": "none"})

    assert assemble("t", [lone], []).complete
    assert not assemble("t", [SERVER], []).complete


def test_log_lines_alone_are_a_trace_without_spans():
    trace = assemble("t", (), [record("a")])

    assert (trace.duration_ms, trace.spans, len(trace.logs)) == (0.0, (), 1)
    assert trace.incomplete_because[0] == "no span of this trace is stored"


def test_a_long_list_of_reasons_is_cut_and_counted():
    found = reasons([span("r")] + [span(f"s{n}", f"gone{n}") for n in range(50)])

    assert len(found) == 21
    assert found[-1] == "and 30 more"


def test_a_chain_of_many_thousand_spans_is_no_deeper_than_the_stack():
    spans = [span(str(n), str(n - 1) if n else "", at=n / 1000) for n in range(20_000)]

    assert len(assemble("t", spans, ()).spans) == 20_000


times = st.integers(min_value=0, max_value=50)


@st.composite
def forests(draw) -> list[Span]:
    """Spans with any parents: missing, later, cyclic, their own; and clocks that disagree."""
    count = draw(st.integers(min_value=0, max_value=12))
    ids = [f"s{number}" for number in range(count)]
    parents = st.sampled_from(["", "gone", *ids])
    return [
        span(
            span_id,
            draw(parents),
            at=draw(times) - 25,
            ms=draw(times),
            kind=draw(st.sampled_from(["Server", "Client", "Internal"])),
            name=draw(st.sampled_from(["GET", "mirror"])),
            proxy=draw(st.booleans()),
        )
        for span_id in ids
    ]


@given(forests(), st.randoms())
def test_whatever_arrives_every_span_is_there_once_and_no_time_is_invented(spans, shuffled):
    trace = assemble("t", spans, ())

    assert sorted(s.span_id for s in trace.spans) == sorted(s.span_id for s in spans)
    assert all(0 <= s.self_ms <= s.duration_ms for s in trace.spans)
    copies = [s.duration_ms for s in spans if is_copy(s)]
    assert whole(trace.beside) == pytest.approx(sum(copies))
    again = list(spans)
    shuffled.shuffle(again)
    assert assemble("t", again, ()) == trace


@st.composite
def trees(draw) -> list[Span]:
    """One request in any shape: calls at once, retries, copies, calls that are given up, clocks that disagree."""
    spans = [proxy("s0", "", "Server", "", at=0, ms=draw(times), workload="gateway")]
    for number in range(1, draw(st.integers(min_value=1, max_value=12))):
        parent = draw(st.sampled_from(spans))
        place = draw(st.sampled_from(["gateway", "fw", "web"]))
        kind = draw(st.sampled_from(["Server", "Client"]))
        cluster = draw(st.sampled_from(["inbound|1||", "outbound|1||web"]))
        made = proxy(f"s{number}", parent.span_id, kind, cluster, at=draw(times) - 5, ms=draw(times), workload=place)
        spans.append(replace(made, name=draw(st.sampled_from(["ingress", "mirror"]))))
    return spans


@given(trees())
def test_what_is_spent_where_adds_up_to_the_whole_whatever_ran_at_once_or_beside_it(spans):
    trace = assemble("t", spans, ())

    assert whole(trace.breakdown) == pytest.approx(trace.duration_ms)
    assert whole(trace.beside) == pytest.approx(sum(s.duration_ms for s in spans if is_copy(s)))


@st.composite
def nested(draw) -> list[Span]:
    """One call after the other, each inside its caller: what a chain without concurrency makes."""
    spans: list[Span] = []

    def call(parent: str, at: int, ms: int) -> None:
        span_id = f"s{len(spans)}"
        spans.append(span(span_id, parent, at=at, ms=ms))
        begin, end = at, at + ms
        while begin < end and len(spans) < 30 and draw(st.booleans()):
            begin += draw(st.integers(min_value=0, max_value=end - begin))
            length = draw(st.integers(min_value=0, max_value=end - begin))
            call(span_id, begin, length)
            begin += length

    call("", 0, draw(st.integers(min_value=0, max_value=1000)))
    return spans


@given(nested())
def test_self_times_of_calls_inside_one_another_add_up_to_the_whole(spans):
    trace = assemble("t", spans, ())

    assert sum(s.self_ms for s in trace.spans) == pytest.approx(trace.duration_ms)
    assert trace.complete

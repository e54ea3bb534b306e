import pytest
import trace_answers as answers
from hypothesis import given
from hypothesis import strategies as st

from clover.cli import hops

START = answers.START


def shape(spans):
    return [(hop.depth, hop.label, len(hop.spans)) for hop in hops.fold(spans)]


def test_the_passes_of_a_sidecar_fold_into_one_hop_per_workload_in_the_order_of_calls():
    assert shape(answers.through_v1()["spans"]) == [
        (0, "gateway", 2),
        (1, "access-control", 4),
        (2, "http-lb v1", 4),
        (3, "web-cache", 4),
        (4, "clover-server2", 2),
    ]


def test_the_order_of_arrival_does_not_matter():
    spans = answers.through_v1()["spans"]

    assert shape(spans[::-1]) == shape(spans)


def test_the_self_times_of_all_hops_add_up_to_those_of_all_spans():
    spans = answers.through_v1()["spans"]

    assert sum(hop.self_ms for hop in hops.fold(spans)) == pytest.approx(sum(span["selfMs"] for span in spans))


def test_a_call_that_ends_after_its_caller_does_not_make_a_visit_longer_than_it_was():
    spans = answers.visit("a", parent="", at="web", begin=1, end=4)
    spans[-1] |= {"durationMs": 3.5, "selfMs": 3.5}

    assert [hop.self_ms for hop in hops.fold(spans)] == [3]


def test_a_copy_is_told_from_the_hops_of_the_request_and_is_no_time_of_its_senders():
    spans = answers.alerted()["spans"]
    _, firewall, ids, web = hops.fold(spans)
    without = [one for one in spans if not one["spanId"].startswith("i") and one["spanId"] != "a5"]

    assert [hop.label for hop in (web, ids)] == ["web", "ids (copy)"]
    assert firewall.self_ms == hops.fold(without)[1].self_ms
    spent = [
        hops.moments(hop, start_nano=START, end_nano=START + 6_840_000, cells=100)
        for hop in (firewall, hops.fold(without)[1])
    ]
    assert spent[0] == spent[1]


def test_each_retry_is_a_hop_of_its_own():
    spans = [
        *answers.gateway(end=9),
        answers.span("g3", parent="g1", at="gateway", kind="Client", begin=5, end=8, own=0),
        *answers.visit("a", parent="g2", at="web", begin=1, end=4, code="503"),
        *answers.visit("b", parent="g3", at="web", begin=5, end=8),
    ]

    assert [hop.status for hop in hops.fold(spans)] == ["200", "503", "200"]


def test_a_hop_whose_caller_is_lost_stands_at_the_left():
    spans = [span for span in answers.through_v1()["spans"] if not span["spanId"].startswith("l")]

    assert [(hop.depth, hop.label) for hop in hops.fold(spans)] == [
        (0, "gateway"),
        (1, "access-control"),
        (0, "web-cache"),
        (1, "clover-server2"),
    ]


def test_a_call_that_never_arrived_is_a_failed_attempt_and_one_that_did_is_not():
    (_, hop) = hops.fold(answers.broken()["spans"])

    assert [span["spanId"] for span in hops.failed_attempts(hop)] == ["a4"]
    assert not any(hops.failed_attempts(hop) for hop in hops.fold(answers.through_v1()["spans"]))


def test_an_error_status_is_an_answer_and_no_failed_call():
    spans = answers.blocked()["spans"]
    spans[-1]["status"] = "Error"

    assert not any(hops.failed_attempts(hop) for hop in hops.fold(spans))


def test_a_moment_belongs_to_the_deepest_span_that_covers_it():
    gateway, firewall = hops.fold(answers.blocked()["spans"])

    def spent(hop):
        return hops.moments(hop, start_nano=START, end_nano=START + 2_100_000, cells=7)

    assert spent(gateway) == [hops.PROXY, *[hops.WAITING] * 5, hops.PROXY]
    assert spent(firewall)[1:6] == [hops.FUNCTION] * 5


def test_a_hop_too_short_for_a_cell_still_shows():
    spans = [*answers.gateway(end=1000), *answers.visit("a", parent="g2", at="web", begin=500, end=500.2)]

    _, hop = hops.fold(spans)

    assert hops.moments(hop, start_nano=START, end_nano=START + 10**9, cells=10).count(hops.NOTHING) == 9


@st.composite
def any_spans(draw):
    """Return spans whose parents may be unknown, themselves, or in a circle."""
    count = draw(st.integers(min_value=0, max_value=12))
    names = st.sampled_from([f"s{number}" for number in range(count)] + ["lost", ""])
    return [
        answers.span(
            f"s{number}",
            parent=draw(names),
            at=draw(st.sampled_from(["a", "b", "lb v1", "lb v2"])),
            kind=draw(st.sampled_from(["Server", "Client", "Internal"])),
            begin=draw(st.integers(0, 5)),
            end=5 + draw(st.integers(0, 5)),
            own=1,
            proxy=draw(st.booleans()),
        )
        for number in range(count)
    ]


@given(any_spans())
def test_every_span_is_in_exactly_one_hop_whatever_the_parents_say(spans):
    found = [span["spanId"] for hop in hops.fold(spans) for span in hop.spans]

    assert sorted(found) == sorted(span["spanId"] for span in spans)


@given(any_spans())
def test_a_hop_comes_after_its_caller_and_one_level_deeper(spans):
    folded = hops.fold(spans)

    for at, hop in enumerate(folded):
        if hop.parent:
            assert folded.index(hop.parent) < at
            assert hop.depth == hop.parent.depth + 1


def test_a_trace_deeper_than_the_stack_is_folded():
    spans = [answers.span(f"s{n}", parent=f"s{n - 1}", at=f"f{n}", begin=0, end=1, own=0) for n in range(3000)]

    assert hops.fold(spans)[-1].depth == 2999

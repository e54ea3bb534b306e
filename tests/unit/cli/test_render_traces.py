from datetime import UTC, timedelta, timezone

import trace_answers as answers

from clover.cli import render_traces


def summary(**more):
    return {
        "traceId": answers.TRACE_ID,
        "root": "GET /",
        "durationMs": 6.84,
        "spanCount": 16,
        "errorCount": 0,
        "services": ["gateway", "web"],
        "startUnixNano": answers.START,
        **more,
    }


def text(*traces, zone=UTC):
    return [line.plain for line in render_traces.lines(traces, zone=zone)]


def test_each_trace_is_a_line():
    assert text(summary(), summary(errorCount=2, durationMs=1234)) == [
        "TRACE                             START         DURATION  SPANS  ERRORS  ROOT   THROUGH",
        "0af7651916cd43dd8448eb211c80319c  14:13:20.123   6.84 ms     16       0  GET /  gateway web",
        "0af7651916cd43dd8448eb211c80319c  14:13:20.123    1.23 s     16       2  GET /  gateway web",
    ]


def test_a_trace_of_which_more_may_come_looks_so():
    whole, arriving = text(summary())[1], text(summary(spanCount=4, arriving=True))

    assert " 16 " in whole
    assert " 4+ " in arriving[1]
    assert arriving[2] == "+ ended a moment ago, more of its spans may be on their way"


def test_times_are_those_of_the_readers_clock():
    assert "16:13:20.123" in text(summary(), zone=timezone(timedelta(hours=2)))[1]


def test_no_trace_is_said_in_words():
    assert text() == ["no traces fit"]


def test_why_a_proxy_ended_a_request_stands_below_it():
    assert text(summary(why="denied by AuthorizationPolicy default/x (rule 1)"))[2] == (
        "  denied by AuthorizationPolicy default/x (rule 1)"
    )

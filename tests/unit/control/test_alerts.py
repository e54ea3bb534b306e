"""How far the alert file need not be read again, how alerts are told, and what somebody slow misses."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.control import alerts
from clover.control.alerts import Progress, Subscriber, message_from, sentence
from clover.control.handlers import CallError, Code
from clover.control.reports import context_of
from clover.control.tail import Position
from clover.functions.alerts import Alert, Join


def place(offset: int) -> Position:
    return Position(device=1, inode=2, offset=offset)


def alert(**more) -> Alert:
    return Alert(**{"id": "a", "time": 1.5, "rule_id": 7, "message": "evil", "severity": 1, **more})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=80),
    lag=st.integers(0, 2),
)
def test_a_saved_place_lies_before_every_alert_that_is_not_dealt_with(steps, lag):
    """Each step reads some records, `lag` steps of a second later they give alerts, and some are dealt with."""
    progress, now, offset, taken, done = Progress(), 0.0, 0, 0, 0
    coming: list[tuple[float, int]] = []
    born: list[tuple[int, float]] = []
    for records, made, dealt in steps:
        now += 1
        for at, where in [one for one in coming if one[0] <= now - lag]:
            coming.remove((at, where))
            taken += 1
            born.append((where, at))
        offset += records
        coming += [(now, offset)] * made
        done = min(taken, done + dealt)
        progress.mark(place(offset), now=now, taken=taken)
        saved = progress.safe(done=done)
        if saved is not None:
            for where, at in [*born[done:], *((where, at) for at, where in coming)]:
                assert saved.offset < where or at > now


def test_when_everything_is_dealt_with_the_end_of_the_file_is_reached():
    progress = Progress()
    for second in range(20):
        progress.mark(place(100), now=float(second), taken=5)
    assert progress.safe(done=4) is None
    assert progress.safe(done=5) == place(100)


def test_places_do_not_pile_up_while_reports_fail(monkeypatch):
    monkeypatch.setattr(alerts, "MOST_MARKS", 50)
    progress = Progress()
    for second in range(5000):
        progress.mark(place(second), now=float(second), taken=second + 1)
        assert progress.safe(done=0) is None
    assert len(progress._settled) <= 51
    assert progress.safe(done=5001) is not None


def test_an_alert_is_told_in_one_line():
    text = sentence(alert(message="evil\nagent", method="GET", host="shop.example", url="/a?b=1", client="192.0.2.7"))
    assert text == 'alert: "evil?agent" (rule 7) GET shop.example/a?b=1 from 192.0.2.7'
    assert sentence(alert()) == 'alert: "evil" (rule 7)'


@pytest.mark.parametrize("join", Join)
def test_every_way_to_join_has_its_value(join):
    assert message_from(alert(join=join)).join != 0


def test_numbers_that_fit_nowhere_are_brought_into_range():
    message = message_from(alert(rule_id=-1, severity=2**40, time=1e300, url="/" * 5000))
    assert (message.rule_id, message.severity, len(message.url)) == (0, 2**32 - 1, 2000)


def test_a_report_belongs_to_the_trace_of_its_alert_when_that_is_known():
    assert context_of(message_from(alert(trace_id="a" * 32, span_id="b" * 16))) is not None
    for trace_id, span_id in (("", ""), ("a" * 32, ""), ("0" * 32, "b" * 16), ("x" * 32, "b" * 16)):
        assert context_of(message_from(alert(trace_id=trace_id, span_id=span_id))) is None


async def test_somebody_slow_gets_the_latest_alerts_and_the_number_of_those_missed(monkeypatch):
    monkeypatch.setattr(alerts, "MOST_BEHIND", 3)
    subscriber = Subscriber()
    for number in range(5):
        subscriber.add(message_from(alert(id=str(number))))
    seen = []

    async def read():
        async for one in subscriber.alerts():
            seen.append(one.id)

    with pytest.raises(CallError, match="2 alerts were missed") as failure:
        await read()
    assert seen == ["2", "3", "4"]
    assert failure.value.code is Code.RESOURCE_EXHAUSTED

"""Telling of oneself never costs more than a queue, whatever becomes of the receiver."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from clover.control import telemetry
from clover.control.telemetry import OtlpTelemetry, sending
from harness import otlp

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OUTSIDE = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
RESOURCE = {"service.name": "lb"}


def quiet(most_waiting: int = 10) -> OtlpTelemetry:
    return OtlpTelemetry(resource=RESOURCE, attributes={"clover.workload": "lb"}, most_waiting=most_waiting)


async def test_spans_and_records_of_a_call_belong_to_the_callers_trace(tmp_path: Path):
    async with (
        otlp.receiving(tmp_path / "otlp.sock") as received,
        sending(str(tmp_path / "otlp.sock"), resource=RESOURCE, attributes={"a": "b"}) as sender,
    ):
        with sender.span("call", context=telemetry.context_from(OUTSIDE), kind=SpanKind.SERVER) as call:
            with sender.span("part", context=call):
                pass
            sender.emit("clover.test", "it happened", {"c": "d"}, context=call)
        await received.until(lambda got: len(got.spans) == 2 and len(got.logs) == 1)

    part, call_span = received.spans
    (record,) = received.logs
    assert {span.trace_id for span in received.spans} == {TRACE_ID}
    assert (call_span.parent_id, part.parent_id) == (SPAN_ID, call_span.span_id)
    assert (record.trace_id, record.span_id) == (TRACE_ID, call_span.span_id)
    assert (record.name, record.attributes, record.resource) == ("it happened", {"a": "b", "c": "d"}, RESOURCE)


async def test_a_record_may_belong_to_a_trace_that_is_only_known_by_its_ids(tmp_path: Path):
    async with (
        otlp.receiving(tmp_path / "otlp.sock") as received,
        sending(str(tmp_path / "otlp.sock"), resource=RESOURCE, attributes={}) as sender,
    ):
        sender.emit("clover.alert", "text", {}, trace=(TRACE_ID, ""))
        await received.until(lambda got: bool(got.logs))

    assert (received.logs[0].trace_id, received.logs[0].span_id) == (TRACE_ID, "")


async def test_what_was_told_before_the_receiver_came_arrives_when_it_comes(tmp_path: Path):
    async with sending(str(tmp_path / "otlp.sock"), resource=RESOURCE, attributes={}) as sender:
        sender.emit("clover.test", "early", {})
        await asyncio.sleep(0.3)
        async with otlp.receiving(tmp_path / "otlp.sock") as received:
            await received.until(lambda got: [one.name for one in got.logs] == ["early"])

    assert sender.dropped == 0


async def test_what_otlp_cannot_say_is_dropped_and_nothing_else(tmp_path: Path):
    async with (
        otlp.receiving(tmp_path / "otlp.sock") as received,
        sending(str(tmp_path / "otlp.sock"), resource=RESOURCE, attributes={}) as sender,
    ):
        for text, number in (("good", 1), ("half a \udc80 character", 1), ("too large", 1 << 70), ("also good", 2)):
            sender.emit("clover.test", text, {"number": number})
        sender.emit("clover.test", "no id", {}, trace=("xyz", ""))
        await received.until(lambda got: len(got.logs) == 2)

    assert [one.name for one in received.logs] == ["good", "also good"]
    assert sender.dropped == 3


async def test_what_is_left_at_the_end_is_sent_before_the_end(tmp_path: Path):
    async with otlp.receiving(tmp_path / "otlp.sock") as received:
        async with sending(str(tmp_path / "otlp.sock"), resource=RESOURCE, attributes={}) as sender:
            await asyncio.sleep(0)
            sender.emit("clover.test", "late", {})

        assert [one.name for one in received.logs] == ["late"]


async def test_an_end_without_a_receiver_does_not_take_long(tmp_path: Path):
    began = time.monotonic()
    async with sending(str(tmp_path / "none.sock"), resource=RESOURCE, attributes={}) as sender:
        sender.emit("clover.test", "lost", {})
        await asyncio.sleep(0.05)

    assert time.monotonic() - began < 3


def test_the_oldest_go_when_nobody_takes_them_and_are_counted():
    told = quiet(most_waiting=3)
    for number in range(5):
        told.emit("clover.test", str(number), {})
        with told.span(str(number)):
            pass

    assert told.dropped == 4
    assert [record.body for record in told._records.take(9)] == ["2", "3", "4"]
    assert [span.name for span in told._spans.take(9)] == ["2", "3", "4"]


def test_what_could_not_be_sent_waits_in_its_old_place_as_far_as_there_is_room():
    told = quiet(most_waiting=3)
    for name in "abc":
        told.emit("clover.test", name, {})
    batch = told._records.take(2)
    told.emit("clover.test", "d", {})
    told._records.put_back(batch)

    assert told.dropped == 1
    assert [record.body for record in told._records.take(9)] == ["b", "c", "d"]


def test_a_span_that_an_exception_leaves_says_why_it_failed():
    told = quiet()
    with pytest.raises(ValueError, match="wrong"), told.span("part"):
        raise ValueError("wrong")

    (span,) = told._spans.take(9)
    assert (span.status, span.status_message) == (2, "wrong")


def test_a_caller_that_is_not_traced_leaves_its_callee_untraced():
    told = quiet()
    context = telemetry.context_from({"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})
    with told.span("part", context=context):
        pass

    assert told._spans.take(9) == []


@pytest.mark.parametrize("text", ["", "nonsense", "00-0-0-01", f"00-{'0' * 32}-{SPAN_ID}-01", "00-" + "f" * 5000])
def test_a_trace_context_that_is_none_begins_a_new_trace(text: str):
    context = telemetry.context_from({"traceparent": text})

    assert not trace.get_current_span(context).get_span_context().is_valid
    assert isinstance(context, Context)


def test_the_environment_does_not_change_what_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")
    told = quiet()
    with told.span("part"):
        pass

    assert [span.name for span in told._spans.take(9)] == ["part"]


def test_importing_an_ambassador_starts_nothing():
    """It is imported once, and forked many times: a thread would not be in the copies, and a lock might be held."""
    script = (
        "import clover.cli.ambassador, os; print(len(os.listdir('/proc/self/task')), len(os.listdir('/proc/self/fd')))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    threads, descriptors = map(int, said.stdout.split())
    assert threads == 1
    assert descriptors <= 5, "standard ones, and the folder that is listed"

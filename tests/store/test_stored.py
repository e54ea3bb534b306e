"""What is sent is found again, with the real engine."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.errors import DocumentError
from clover.telemetry import query
from clover.telemetry.store import Store
from clover.telemetry.store.frames import MalformedError
from harness import otlp_payloads as otlp

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = [
    "'; DROP TABLE otel_traces; --",
    "\\' OR 1=1 --",
    "{service:String}",
    "a\tb\n",
    "\\N",
    "ünïcödé 𝔘",
    "\x01",
    "",
]
_numbers = iter(range(1, 1_000_000))


def fresh_trace() -> str:
    """Return a trace id that no other test has."""
    return f"{next(_numbers):032x}"


async def stored_span(store: Store, trace: str):
    (span,) = (await query.trace(store, trace)).spans
    return span


async def test_a_span_comes_back_as_it_was_sent(store):
    trace, start = fresh_trace(), time.time_ns()
    sent = otlp.span(
        "00f067aa0ba902b7",
        "b7ad6b7169203331",
        trace=trace,
        service="waf",
        kind="Client",
        name="GET route",
        start_ns=start,
        ms=1.234567,
        status=2,
        component="proxy",
    )

    await store.insert_traces(otlp.traces(sent))

    span = await stored_span(store, trace)
    assert (span.span_id, span.parent_span_id) == ("00f067aa0ba902b7", "b7ad6b7169203331")
    assert (span.service, span.version, span.workload) == ("waf", "v1", "waf")
    assert (span.kind, span.name, span.status, span.proxy) == ("Client", "GET route", "Error", True)
    assert (span.start_unix_nano, span.duration_ms) == (start, 1.234567)


async def test_attributes_of_every_type_are_kept_as_text(store):
    trace = fresh_trace()
    values = {
        "text": "ünïcödé \x00 '\"\\",
        "empty": "",
        "nothing": None,
        "whole": -(2**63),
        "half": 0.5,
        "yes": True,
        "bytes": b"\x00\xff",
        "list": [1, "ä", True],
        "map": {"k": 1.5},
    }

    await store.insert_traces(otlp.traces(otlp.span("1" * 16, trace=trace, **values)))

    attributes = dict((await stored_span(store, trace)).attributes)
    assert json.loads(attributes.pop("list")) == ["1", "ä", "true"]
    assert json.loads(attributes.pop("map")) == {"k": "1.5"}
    assert attributes == {
        "text": "ünïcödé \x00 '\"\\",
        "empty": "",
        "nothing": "",
        "whole": str(-(2**63)),
        "half": "0.5",
        "yes": "true",
        "bytes": "AP8=",
    }


@pytest.mark.parametrize("start", [0, 1, 2**63 - 1, 2**64 - 1])
async def test_no_clock_is_too_wrong_for_a_span_to_be_kept(store, start):
    trace = fresh_trace()
    kind, fields = otlp.span("1" * 16, trace=trace, start_ns=0)
    fields |= {"start_time_unix_nano": start, "end_time_unix_nano": 5}

    await store.insert_traces(otlp.traces((kind, fields)))

    assert (await stored_span(store, trace)).duration_ms in (0, 5e-6, 4e-6)


async def test_events_and_links_are_kept_in_the_exporters_columns(store):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    trace = fresh_trace()
    request = ExportTraceServiceRequest.FromString(otlp.traces(otlp.span("1" * 16, trace=trace)))
    span = request.resource_spans[0].instrumentation_library_spans[0].spans[0]
    event = span.events.add(name="retry", time_unix_nano=1_700_000_000_000_000_001)
    otlp.put(event.attributes, {"n": 1, "list": ["a"]})
    span.links.add(trace_id=b"\xaa" * 16, span_id=b"\xbb" * 8)

    await store.insert_traces(request.SerializeToString())

    (row,) = await store.query(
        "SELECT `Events.Name` AS names, toUnixTimestamp64Nano(`Events.Timestamp`[1]) AS time, "
        "`Events.Attributes` AS attributes, `Links.TraceId` AS links FROM otel_traces WHERE TraceId = {id:String}",
        {"id": trace},
    )
    assert row["names"] == ["retry"]
    assert row["time"] == 1_700_000_000_000_000_001
    assert row["attributes"][0]["n"] == "1"
    assert "a" in row["attributes"][0]["list"]
    assert row["links"] == ["aa" * 16]


async def test_a_log_record_is_joined_to_its_trace(store):
    trace = fresh_trace()
    await store.insert_logs(
        otlp.logs({"trace": trace, "span": "1" * 16, "body": "GET / 200", "log": "envoy", "status": "200", "n": 3})
    )

    (line,) = (await query.trace(store, trace)).logs

    assert (line.service, line.version, line.span_id, line.body) == ("http-lb", "v1", "1" * 16, "GET / 200")
    assert line.attributes == {"log": "envoy", "status": "200", "n": "3"}


async def lines_of(store: Store, text: bytes, trace: str):
    seen = store.commits
    store.insert_lines(otlp.resource("waf"), text)
    await store.after_next_commit(seen=seen, timeout_s=10)
    return (await query.trace(store, trace)).logs


async def test_an_access_log_line_is_joined_and_its_fields_are_attributes(store):
    trace = fresh_trace()
    line = json.dumps(
        {
            "log": "access",
            "time": 1_700_000_000.123456,
            "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
            "path": '/a "b"\\ü',
            "status": 200,
            "nothing": None,
            "list": [1],
        }
    ).encode()

    (found,) = await lines_of(store, line + b"\n", trace)

    assert found.timestamp_unix_nano == pytest.approx(1_700_000_000_123_456_000, abs=1000)
    assert (found.service, found.workload, found.span_id) == ("waf", "waf", "00f067aa0ba902b7")
    assert found.body == line.decode()
    assert found.attributes == {
        "log": "access",
        "time": "1700000000.123456",
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
        "path": '/a "b"\\ü',
        "status": "200",
    }


async def test_any_line_with_a_traceparent_anywhere_is_joined_in_the_order_printed(store):
    trace = fresh_trace()
    parent = f"00-{trace}-00f067aa0ba902b7-01"
    text = f"""first {parent} plain
[error] ModSecurity: Access denied [unique_id "{parent}"] [client 1.2.3.4]

{{"audit": {{"id": "{parent}"}}, "log": "odd"}}
{{"broken": "{parent}"
no trace here
second of one line {parent} 00-{"f" * 32}-{"f" * 16}-01""".encode()

    lines = await lines_of(store, text, trace)

    assert [line.body.split()[0] for line in lines] == ["first", "[error]", '{"audit":', '{"broken":', "second"]
    assert {line.attributes["log"] for line in lines} == {"output"}
    rows = await store.query("SELECT count() AS n FROM otel_logs WHERE Body = 'no trace here' AND TraceId = ''")
    assert rows[0]["n"] == 1


async def test_bytes_that_are_no_text_are_a_line_too(store):
    trace = fresh_trace()

    (line,) = await lines_of(store, b"\xff\xfe\x00 00-" + trace.encode() + b"-00f067aa0ba902b7-01 \x1b[31m\r\n", trace)

    assert "\x1b[31m" in line.body


# ---- refused, and nobody else with it


async def test_a_malformed_request_is_refused_and_its_neighbours_are_stored(store):
    good = [fresh_trace() for _ in range(4)]
    deep = b"\x0a\x08\x12\x06\x12\x04\x4a\x02\x0a\x05"  # a span whose attribute is longer than the span
    requests = [otlp.traces(otlp.span("1" * 16, trace=trace)) for trace in good]

    outcomes = await asyncio.gather(
        store.insert_traces(requests[0]),
        store.insert_traces(deep),
        store.insert_traces(requests[1]),
        store.insert_traces(requests[2][:-3]),
        store.insert_traces(b"not protobuf at all"),
        store.insert_traces(requests[3]),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        MalformedError,
        type(None),
        MalformedError,
        MalformedError,
        type(None),
    ]
    for trace in (good[0], good[1], good[3]):
        assert await stored_span(store, trace)


async def test_an_empty_request_is_a_success(store):
    await store.insert_traces(b"")
    await store.insert_logs(b"")
    await store.insert_traces(otlp.traces())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_bytes_harm_the_store_or_a_neighbour(store, data):
    trace = fresh_trace()
    sound = otlp.traces(otlp.span("1" * 16, trace=trace, a="b"))
    spoilt = bytearray(sound)
    for _ in range(data.draw(st.integers(min_value=1, max_value=6))):
        spoilt[data.draw(st.integers(min_value=0, max_value=len(spoilt) - 1))] = data.draw(
            st.integers(min_value=0, max_value=255)
        )
    noise = data.draw(st.binary(max_size=100))

    *outcomes, neighbour = await asyncio.gather(
        store.insert_traces(bytes(spoilt)),
        store.insert_traces(noise),
        store.insert_logs(bytes(spoilt)),
        store.insert_traces(sound),
        return_exceptions=True,
    )

    assert neighbour is None
    assert all(outcome is None or isinstance(outcome, MalformedError) for outcome in outcomes)
    rows = await store.query(
        "SELECT count() AS n FROM otel_traces WHERE TraceId = {id:String} AND SpanAttributes['a'] = 'b'", {"id": trace}
    )
    assert rows[0]["n"] >= 1


async def test_a_large_request_is_stored_whole(store):
    trace = fresh_trace()
    spans = [otlp.span(f"{n:016x}", trace=trace, body="x" * 3000) for n in range(1, 4001)]

    await store.insert_traces(otlp.traces(*spans))

    assert len((await query.trace(store, trace)).spans) == 4000


# ---- asking


async def test_traces_are_found_by_what_one_of_their_spans_was(store):
    trace = fresh_trace()
    now = time.time_ns()
    await store.insert_traces(
        otlp.traces(
            otlp.envoy_span("1" * 16, "", service="gateway", cluster="c", trace=trace, start_ns=now, ms=70),
            otlp.envoy_span(
                "2" * 16,
                "1" * 16,
                service="finder",
                cluster="inbound|9180||",
                trace=trace,
                start_ns=now,
                ms=30,
                http__status_code="418",
                error="true",
                colour="it's red",
                number=7,
            ),
        )
    )

    async def found(**wanted) -> bool:
        summaries = await query.find_traces(store, query.Filter(limit=1000, **wanted))
        return trace in [summary.trace_id for summary in summaries]

    assert await found(service="finder")
    assert not await found(service="nobody")
    assert await found(status="418")
    assert await found(status="4xx", service="finder")
    assert not await found(status="418", service="gateway")
    assert await found(status="error", service="finder")
    assert not await found(status="error", service="gateway")
    assert await found(min_duration_ms=69.9, service="finder")
    assert not await found(min_duration_ms=70.1)
    assert await found(since_s=60)
    assert await found(attributes=(("colour", "it's red"), ("number", "7")))
    assert await found(attributes=(("service.name", "finder"), ("http.status_code", "418")))
    assert await found(attributes=(("clover.workload", "finder"), ("service.version", "v1")))
    assert not await found(attributes=(("colour", "blue"),))
    assert not await found(attributes=(("no such attribute", ""),))

    (summary,) = await query.find_traces(store, query.Filter(service="finder"))
    assert summary.as_json() == {
        "traceId": trace,
        "root": "gateway GET /",
        "durationMs": 70.0,
        "spanCount": 2,
        "errorCount": 1,
        "services": ["finder", "gateway"],
        "startUnixNano": now,
        "arriving": summary.arriving,
        "why": "",
    }


async def test_the_newest_traces_come_first_and_no_more_than_asked_for(store):
    now = time.time_ns()
    traces = [fresh_trace() for _ in range(5)]
    spans = [
        otlp.span("1" * 16, trace=trace, service="ordered", start_ns=now - age * 10**9)
        for age, trace in enumerate(traces)
    ]
    await store.insert_traces(otlp.traces(*spans))

    summaries = await query.find_traces(store, query.Filter(service="ordered", limit=3))

    assert [summary.trace_id for summary in summaries] == traces[:3]


async def test_of_a_trace_that_ended_a_moment_ago_more_may_come(store):
    now = time.time_ns()
    for seconds, trace in {30: fresh_trace(), -10: fresh_trace()}.items():
        sent = otlp.span("1" * 16, trace=trace, service="arriving", start_ns=now + seconds * 10**9)
        await store.insert_traces(otlp.traces(sent))

    summaries = await query.find_traces(store, query.Filter(service="arriving"))

    assert [summary.arriving for summary in summaries] == [True, False]


@pytest.mark.parametrize("text", HOSTILE)
async def test_text_that_looks_like_sql_is_only_text(store, text):
    trace = fresh_trace()
    sent = otlp.span("1" * 16, trace=trace, service=text or "none", **{"k" + text: text})
    await store.insert_traces(otlp.traces(sent))

    (summary,) = await query.find_traces(
        store, query.Filter(service=text or "none", attributes=(("k" + text, text),), limit=1)
    )

    assert summary.trace_id == trace
    with pytest.raises(DocumentError):
        await query.trace(store, text)
    assert (await store.statistics())["spans"] > 0


async def test_a_trace_is_found_by_its_id_its_beginning_and_its_request_id(store):
    request_id = "9b2e0c4e-6f8e-4f5e-9a0f-3c1d2e4f5a6b"
    trace = "dead" + fresh_trace()[4:]
    await store.insert_traces(
        otlp.traces(otlp.span("1" * 16, trace=trace, **{"guid:x-request-id": request_id}, start_ns=time.time_ns()))
    )

    for wanted in (trace, trace.upper(), trace[:20], request_id, f" {trace} "):
        assert (await query.trace(store, wanted)).trace_id == trace


async def test_the_latest_trace_is_the_one_that_began_last(store):
    late, early = fresh_trace(), fresh_trace()
    now = time.time_ns()
    await store.insert_traces(
        otlp.traces(
            otlp.span("1" * 16, trace=early, start_ns=now + 10**9),
            otlp.span("2" * 16, "1" * 16, trace=early, start_ns=now + 3 * 10**9),
            otlp.span("3" * 16, trace=late, start_ns=now + 2 * 10**9),
            otlp.span("4" * 16, trace=fresh_trace(), start_ns=now + 3600 * 10**9),
        )
    )

    assert (await query.trace(store, "latest")).trace_id == late


async def test_the_beginning_of_several_traces_is_none_of_them(store):
    first, second = "beef" * 7 + "0001", "beef" * 7 + "0002"
    await store.insert_traces(otlp.traces(otlp.span("1" * 16, trace=first), otlp.span("1" * 16, trace=second)))

    with pytest.raises(DocumentError, match="CLV6012"):
        await query.trace(store, "beefbeef")


async def test_what_is_not_stored_is_not_found(store):
    with pytest.raises(query.NoTraceError, match="CLV6013"):
        await query.trace(store, "f" * 32)
    with pytest.raises(query.NoTraceError, match="CLV6013"):
        await query.trace(store, "f" * 32, wait_s=float("nan"))
    with pytest.raises(DocumentError, match="CLV6011"):
        await query.trace(store, "f" * 7)
    with pytest.raises(DocumentError, match="CLV6011"):
        await query.trace(store, "g" * 32)


async def test_a_trace_is_waited_for_until_its_last_piece_is_stored(store):
    trace = fresh_trace()
    waiting = asyncio.ensure_future(query.trace(store, trace, wait_s=30))
    entry = otlp.envoy_span("1" * 16, "", service="gateway", cluster="outbound|1||a", trace=trace)
    onward = otlp.envoy_span("2" * 16, "1" * 16, service="gateway", cluster="outbound|1||a", trace=trace, kind="Client")
    arrival = otlp.envoy_span("3" * 16, "2" * 16, service="a", cluster="inbound|1||", trace=trace)
    records = [{"trace": trace, "span": place * 16, "log": "envoy"} for place in "13"]

    await store.insert_traces(otlp.traces(arrival))
    await store.insert_logs(otlp.logs(*records))
    await store.insert_traces(otlp.traces(entry))
    assert not waiting.done()
    await store.insert_traces(otlp.traces(onward))

    found = await waiting
    assert found.complete
    assert len(found.spans) == 3


async def test_a_trace_that_stays_incomplete_is_returned_when_the_time_is_up(store):
    trace = fresh_trace()
    await store.insert_traces(otlp.traces(otlp.span("1" * 16, "2" * 16, trace=trace)))

    found = await query.trace(store, trace, wait_s=0.05)

    assert found.as_json()["complete"] is False
    assert found.as_json()["incompleteBecause"] == [
        f"span {'1' * 16} of 'http-lb' has the parent {'2' * 16}, which is missing"
    ]


async def test_rates_count_access_logs_and_take_durations_from_spans(store):
    ended = time.time_ns() - 3 * 10**9
    records = [
        {
            "service": "rated",
            "direction": "inbound",
            "status": status,
            "duration_ms": "5",
            "time_ns": ended - 5 * otlp.MS,
        }
        for status in ("200", "404", "503", "0")
    ]
    unrelated = [{"service": "rated", "direction": "outbound", "status": "503", "duration_ms": "5", "time_ns": ended}]
    spans = [
        otlp.envoy_span(
            f"{n:016x}",
            "",
            service="rated",
            cluster="inbound|1||",
            trace=fresh_trace(),
            start_ns=ended - 5 * otlp.MS,
            ms=n + 0.25,
        )
        for n in range(1, 4)
    ]
    await store.insert_logs(otlp.logs(*({"log": "envoy", **record} for record in records + unrelated)))
    await store.insert_traces(otlp.traces(*spans))

    (rate,) = [rate for rate in await query.rates(store, seconds=10) if rate.service == "rated"]

    assert (rate.version, rate.workload, rate.rps, rate.error_rate) == ("v1", "rated", 0.4, 0.5)
    assert rate.p50_ms == 2.25


async def test_what_the_store_holds_is_counted(store):
    before = await store.statistics()

    await store.insert_traces(otlp.traces(otlp.span("1" * 16, trace=fresh_trace())))
    await store.insert_logs(otlp.logs({"trace": fresh_trace()}))

    after = await store.statistics()
    assert after["spans"] == before["spans"] + 1
    assert after["logs"] >= before["logs"] + 1
    assert after["bytes"] > 0
    assert (after["refused"], after["lost"]) == (0, 0)
    assert store.problems() == ()


async def test_a_list_of_traces_and_a_trace_say_who_ended_the_request_and_what_was_tried(store):
    trace, now = fresh_trace(), time.time_ns()
    await store.insert_traces(otlp.traces(otlp.span("1" * 16, trace=trace, service="denied", start_ns=now)))
    denied = {
        "trace": trace,
        "span": "1" * 16,
        "log": "envoy",
        "flags": "-",
        "details": "rbac_access_denied_matched_policy[ns[default]-policy[x]-rule[0]]",
        "dry_run_deny": "ns[default]-policy[y]-rule[1]",
    }
    await store.insert_logs(otlp.logs(denied))

    (summary,) = await query.find_traces(store, query.Filter(service="denied"))
    (line,) = (await query.trace(store, trace, wait_s=0)).logs

    assert summary.why == line.why == "denied by AuthorizationPolicy default/x (rule 1)"
    assert line.remarks == ("would be denied by AuthorizationPolicy default/y (rule 2), which is only tried",)

"""One trace, found by what a user has at hand, and waited for while it is still coming in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clover.errors import DocumentError, Problem
from clover.telemetry.query import outcomes, ways
from clover.telemetry.query.answers import Answers, Waits
from clover.telemetry.query.assemble import assemble
from clover.telemetry.query.search import ARRIVAL_S, control_traces
from clover.telemetry.records import LogLine, Span, Trace

SPANS = 20_000
"""The most spans, and the most log lines, that are read of one trace."""

_HEX = re.compile(r"[0-9a-f]{8,32}")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LATEST = f"""
    SELECT TraceId AS trace_id FROM otel_traces
    WHERE TraceId != '' AND Timestamp > now64(9) - toIntervalSecond({{window_s:UInt64}})
        AND Timestamp <= now64(9) + toIntervalSecond(5) AND TraceId NOT IN ({control_traces("{window_s:UInt64}")})
    GROUP BY TraceId ORDER BY min(Timestamp) DESC LIMIT 1"""  # noqa: S608
_LATEST_WINDOWS_S = (60, 3600, 10**9)
_BY_REQUEST_ID = """
    SELECT DISTINCT TraceId AS trace_id FROM
    (
        SELECT TraceId FROM otel_traces WHERE RequestId = {id:String}
        UNION ALL SELECT TraceId FROM otel_logs WHERE RequestId = {id:String}
    )
    WHERE TraceId != '' LIMIT 2"""
_BY_PREFIX = """
    SELECT DISTINCT TraceId AS trace_id FROM
    (
        SELECT TraceId FROM otel_traces WHERE startsWith(TraceId, {id:String})
        UNION ALL SELECT TraceId FROM otel_logs WHERE startsWith(TraceId, {id:String})
    )
    ORDER BY trace_id LIMIT 2"""
_SPANS = f"""
    SELECT
        SpanId AS span_id, ParentSpanId AS parent_span_id, ServiceName AS service, ServiceVersion AS version,
        Workload AS workload, SpanName AS name, SpanKind AS kind, toUnixTimestamp64Nano(Timestamp) AS start,
        Duration AS duration, StatusCode AS status, Failed AS failed, SpanAttributes AS attributes
    FROM otel_traces WHERE TraceId = {{id:String}} ORDER BY Timestamp LIMIT {SPANS}"""  # noqa: S608
_LOGS = f"""
    SELECT
        toUnixTimestamp64Nano(Timestamp) AS timestamp, ServiceName AS service, ServiceVersion AS version,
        Workload AS workload, SpanId AS span_id, Body AS body, LogAttributes AS attributes
    FROM otel_logs WHERE TraceId = {{id:String}} ORDER BY Timestamp LIMIT {SPANS}"""  # noqa: S608


class NoTraceError(DocumentError):
    """There is no such trace in the store."""


async def trace(store: Waits, wanted: str, *, wait_s: float = 0.0) -> Trace:
    """
    Return one trace.

    `wanted` is a trace id, its first 8 or more digits, the `x-request-id` of a request, or `latest`. With `wait_s`, a
    trace that is not there yet, or not complete, is waited for that long; then it is returned as it is. The latest is
    the one that began last of those that are here `ARRIVAL_S` from now.
    Raises `NoTraceError` when there is none, `DocumentError` when `wanted` is no id, or the start of several.
    """
    loop = asyncio.get_running_loop()
    wait_s = wait_s if wait_s > 0 else 0.0  # a NaN waits for nothing
    until = loop.time() + wait_s
    if wanted.strip().lower() == "latest":
        # The request that the user has just made is still on its way; the one before it is not what is meant.
        await asyncio.sleep(min(wait_s, ARRIVAL_S))
    trace_id: str | None = None
    while True:
        seen = store.commits
        trace_id = trace_id or await _resolve(store, wanted)
        found = await _read(store, trace_id) if trace_id else None
        left = until - loop.time()
        if found is not None and (found.complete or left <= 0):
            return found
        if left <= 0:
            raise NoTraceError(_unknown(wanted))
        await store.after_next_commit(seen=seen, timeout_s=left)


async def _resolve(store: Answers, wanted: str) -> str | None:
    """Return the trace id that is meant, None when nothing is stored of it yet."""
    text = wanted.strip().lower()
    if text == "latest":
        for window_s in _LATEST_WINDOWS_S:
            if rows := await store.query(_LATEST, {"window_s": window_s}):
                break
    elif _REQUEST_ID.fullmatch(text):
        rows = await store.query(_BY_REQUEST_ID, {"id": text})
    elif len(text) == 32 and _HEX.fullmatch(text):
        return text
    elif _HEX.fullmatch(text):
        rows = await store.query(_BY_PREFIX, {"id": text})
    else:
        raise DocumentError(
            Problem(
                code="CLV6011",
                where="trace",
                what=f"{wanted[:80]!r} is not a trace id: expected 32 hexadecimal digits, or the first 8 or more of "
                "them, an x-request-id, or 'latest'",
            )
        )
    if len(rows) > 1 and not _REQUEST_ID.fullmatch(text):
        raise DocumentError(
            Problem(
                code="CLV6012",
                where="trace",
                what=f"several traces begin with {text!r}: {rows[0]['trace_id']!r} and {rows[1]['trace_id']!r}",
                hint="give more digits",
            )
        )
    return str(rows[0]["trace_id"]) if rows else None


async def _read(store: Answers, trace_id: str) -> Trace | None:
    spans = await store.query(_SPANS, {"id": trace_id})
    logs = await store.query(_LOGS, {"id": trace_id})
    if not spans and not logs:
        return None
    told = await ways.with_failures(store, [(int(row["timestamp"]), row["attributes"]) for row in logs])
    lines = (_line({**row, "attributes": said}) for row, said in zip(logs, told, strict=True))
    found = assemble(trace_id, map(_span, spans), lines)
    if max(len(spans), len(logs)) < SPANS:
        return found
    reason = f"only the first {SPANS} spans and the first {SPANS} log lines of this trace are read"
    return replace(found, complete=False, incomplete_because=(reason, *found.incomplete_because))


def _span(row: Mapping[str, Any]) -> Span:
    return Span(
        span_id=row["span_id"],
        parent_span_id=row["parent_span_id"],
        service=row["service"],
        version=row["version"],
        workload=row["workload"],
        name=row["name"],
        kind=row["kind"],
        start_unix_nano=row["start"],
        duration_ms=row["duration"] / 1e6,
        status="Error" if row["failed"] else row["status"],
        attributes=row["attributes"],
        proxy=row["attributes"].get("component") == "proxy",
    )


def _line(row: Mapping[str, Any]) -> LogLine:
    told = row["attributes"] if row["attributes"].get("log") == "envoy" else {}
    return LogLine(
        timestamp_unix_nano=row["timestamp"],
        service=row["service"],
        version=row["version"],
        workload=row["workload"],
        span_id=row["span_id"],
        body=row["body"],
        attributes=row["attributes"],
        why=outcomes.why(told),
        remarks=tuple(outcomes.remarks(told)),
    )


def _unknown(wanted: str) -> Problem:
    if wanted.strip().lower() == "latest":
        return Problem(
            code="CLV6013", where="trace", what="no trace is stored yet", hint="send a request to the gateway first"
        )
    return Problem(
        code="CLV6013",
        where="trace",
        what=f"no trace {wanted[:80]!r} is stored",
        hint="list what is stored: clover traces",
    )

"""Asking the store for traces: which ones, everything about one, and how the services fare right now.

Whatever a user typed is bound as a parameter; the text of a query depends only on which filters are given.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clover.errors import DocumentError, Problem
from clover.telemetry.query.assemble import assemble
from clover.telemetry.records import LogLine, Rate, Span, Trace, TraceSummary

LIMIT = 1000
"""The longest list of traces."""
SPANS = 20_000
"""The most spans, and the most log lines, that are read of one trace."""
PROMOTED = {
    "http.status_code": "toString(HttpStatus)",
    "http.url": "HttpUrl",
    "guid:x-request-id": "RequestId",
    "response_flags": "ResponseFlags",
    "upstream_cluster.name": "UpstreamCluster",
    "service.version": "ServiceVersion",
    "clover.workload": "Workload",
}
"""Attributes that have a column of their own, which is read instead of the whole map."""


class Answers(Protocol):
    """What a query needs of a store."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return rows."""
        ...


class Waits(Answers, Protocol):
    """A store that tells when more may have come."""

    @property
    def commits(self) -> int:
        """How many commits were made."""
        ...

    async def after_next_commit(self, *, seen: int, timeout_s: float) -> int:
        """Wait for one more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which traces to list. Service, status and attributes must all be those of one and the same span."""

    service: str = ""
    status: str = ""
    """A status code (`404`), a class (`5xx`), or `error`: a span that failed."""
    min_duration_ms: float = 0.0
    """Of the whole trace."""
    since_s: float = 0.0
    """Traces with a span that began in this many last seconds; 0: any time."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Of the span or its resource."""
    limit: int = 20


def check(wanted: Filter) -> Iterator[Problem]:
    """Yield what is wrong with a filter."""
    if wanted.status and not re.fullmatch(r"[1-5][0-9]{2}|[1-5]xx|error", wanted.status):
        yield _problem("status", f"status is {wanted.status!r}, expected a code as '404', a class as '5xx', or 'error'")
    if not 1 <= wanted.limit <= LIMIT:
        yield _problem("limit", f"limit is '{wanted.limit}', expected 1 to {LIMIT}")
    # Written so that NaN fails too.
    if not 0 <= wanted.min_duration_ms < 1e12:
        yield _problem("minDurationMs", f"minimum duration is '{wanted.min_duration_ms}' ms, expected 0 or more")
    if not 0 <= wanted.since_s < 1e9:
        yield _problem("sinceS", f"since is '{wanted.since_s}' s, expected 0 or more")
    for key, _ in wanted.attributes:
        if not key:
            yield _problem("attribute", "an attribute has an empty name, expected 'name=value'")


def _problem(where: str, what: str) -> Problem:
    return Problem(code="CLV6010", where=where, what=what)


@dataclass(slots=True)
class Query:
    """A SELECT being put together: conditions, and the values that they name."""

    conditions: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def where(self, condition: str, **values: Any) -> None:
        """Add a condition and the values of its `{name:Type}` places."""
        self.conditions.append(condition)
        self.parameters |= values

    @property
    def text(self) -> str:
        """The conditions, joined."""
        return " AND ".join(self.conditions) or "1"


def search_query(wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Return the statement that lists the traces wanted, newest first, and its parameters."""
    spans = Query()
    spans.where("TraceId != ''")
    if wanted.since_s:
        spans.where(
            "Timestamp >= now64(9) - toIntervalMillisecond({since_ms:UInt64})", since_ms=int(wanted.since_s * 1000)
        )
    slow = Query(list(spans.conditions), dict(spans.parameters))
    if wanted.service:
        spans.where("ServiceName = {service:String}", service=wanted.service)
    if wanted.status == "error":
        spans.where("StatusCode = 'Error'")
    elif wanted.status.endswith("xx"):
        spans.where("intDiv(HttpStatus, 100) = {class:UInt16}", **{"class": int(wanted.status[0])})
    elif wanted.status:
        spans.where("HttpStatus = {status:UInt16}", status=int(wanted.status))
    for number, (key, value) in enumerate(wanted.attributes):
        name, text = f"key{number}", f"value{number}"
        if column := PROMOTED.get(key):
            spans.where(f"{column} = {{{text}:String}}", **{text: value})
        else:
            # mapContains: a map answers '' for a key that it does not have.
            either = " OR ".join(
                f"(mapContains({column}, {{{name}:String}}) AND {column}[{{{name}:String}}] = {{{text}:String}})"
                for column in ("SpanAttributes", "ResourceAttributes")
            )
            spans.where(f"({either})", **{name: key, text: value})
    having, inner_limit = "", "LIMIT {limit:UInt64}"
    if wanted.min_duration_ms:
        # The span that began a slow trace is itself slow; which span that is, only the whole trace tells.
        slow.where("Duration >= {min_ns:UInt64}", min_ns=int(wanted.min_duration_ms * 1e6))
        spans.where(f"TraceId IN (SELECT TraceId FROM otel_traces WHERE {slow.text})", **slow.parameters)  # noqa: S608
        having, inner_limit = "HAVING root.3 >= {min_ns:UInt64}", ""
    # Only conditions written in this module are filled in; values are parameters.
    sql = f"""
        SELECT
            TraceId AS trace_id,
            argMin((ServiceName, SpanName, Duration), (ParentSpanId != '', Timestamp, -toInt64(Duration))) AS root,
            uniqExact(SpanId) AS span_count,
            uniqExactIf(SpanId, StatusCode = 'Error') AS error_count,
            arraySort(groupUniqArray(ServiceName)) AS services,
            toUnixTimestamp64Nano(min(Timestamp)) AS start
        FROM otel_traces
        WHERE TraceId IN
        (
            SELECT TraceId FROM otel_traces WHERE {spans.text}
            GROUP BY TraceId ORDER BY max(Timestamp) DESC {inner_limit}
        )
        GROUP BY TraceId
        {having}
        ORDER BY start DESC, trace_id
        LIMIT {{limit:UInt64}}"""  # noqa: S608
    return sql, spans.parameters | {"limit": wanted.limit}


async def find_traces(store: Answers, wanted: Filter) -> list[TraceSummary]:
    """Return the traces wanted, newest first; a filter that means nothing is a `DocumentError`."""
    if problems := tuple(check(wanted)):
        raise DocumentError(*problems)
    return [
        TraceSummary(
            trace_id=row["trace_id"],
            root=f"{row['root'][0]} {row['root'][1]}".strip(),
            duration_ms=row["root"][2] / 1e6,
            span_count=row["span_count"],
            error_count=row["error_count"],
            services=tuple(row["services"]),
            start_unix_nano=row["start"],
        )
        for row in await store.query(*search_query(wanted))
    ]


# ---- one trace

_HEX = re.compile(r"[0-9a-f]{8,32}")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LATEST = """
    SELECT TraceId AS trace_id FROM otel_traces
    WHERE TraceId != '' AND Timestamp <= now64(9) + toIntervalSecond(5)
        AND Timestamp >= (SELECT max(Timestamp) FROM otel_traces WHERE Timestamp <= now64(9) + toIntervalSecond(5))
            - toIntervalSecond(60)
    GROUP BY TraceId ORDER BY min(Timestamp) DESC LIMIT 1"""
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
        Duration AS duration, StatusCode AS status, SpanAttributes AS attributes
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
    trace that is not there yet, or not complete, is waited for that long; then it is returned as it is.
    Raises `NoTraceError` when there is none, `DocumentError` when `wanted` is no id, or the start of several.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
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
        rows = await store.query(_LATEST)
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
    return assemble(trace_id, map(_span, spans), map(_line, logs))


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
        status=row["status"],
        attributes=row["attributes"],
        proxy=row["attributes"].get("component") == "proxy",
    )


def _line(row: Mapping[str, Any]) -> LogLine:
    return LogLine(
        timestamp_unix_nano=row["timestamp"],
        service=row["service"],
        version=row["version"],
        workload=row["workload"],
        span_id=row["span_id"],
        body=row["body"],
        attributes=row["attributes"],
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


# ---- rates

RATES_DELAY_S = 1.5
"""How late the records of a request may come: Envoy sends its access log once a second."""
_RATES = """
    SELECT
        ServiceName AS service, ServiceVersion AS version, Workload AS workload, count() AS requests,
        countIf(HttpStatus >= 500 OR HttpStatus = 0) AS errors,
        quantilesExact(0.5, 0.99)(DurationMs) AS quantiles
    FROM otel_logs
    WHERE Log = 'envoy' AND Direction IN ('inbound', 'gateway')
        AND Timestamp >= now64(9) - toIntervalMillisecond({window_ms:UInt64} + {delay_ms:UInt64}) - toIntervalMinute(1)
        AND (Timestamp + toIntervalMicrosecond(toUInt64(DurationMs * 1000)) AS ended)
            > now64(9) - toIntervalMillisecond({window_ms:UInt64} + {delay_ms:UInt64})
        AND ended <= now64(9) - toIntervalMillisecond({delay_ms:UInt64})
    GROUP BY service, version, workload ORDER BY service, version, workload"""


async def rates(store: Answers, *, seconds: float = 10.0) -> list[Rate]:
    """
    Return what each service did in the last seconds, from the access logs, which leave no request out.

    A request counts when it ended; the seconds end `RATES_DELAY_S` ago, because what came since is not all here.
    """
    rows = await store.query(_RATES, {"window_ms": int(seconds * 1000), "delay_ms": int(RATES_DELAY_S * 1000)})
    return [
        Rate(
            service=row["service"],
            version=row["version"],
            workload=row["workload"],
            rps=row["requests"] / seconds,
            error_rate=row["errors"] / row["requests"],
            p50_ms=row["quantiles"][0],
            p99_ms=row["quantiles"][1],
        )
        for row in rows
    ]

"""Which traces are there: a list, filtered.

Whatever a user typed is bound as a parameter; the text of a query depends only on which filters are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clover.errors import DocumentError, Problem
from clover.telemetry.query.answers import Answers
from clover.telemetry.query.lost import reasons
from clover.telemetry.records import TraceSummary

LIMIT = 1000
"""The longest list of traces."""
DEFAULT_LIMIT = 20
ARRIVAL_S = 1.5
"""How long spans and access logs of a request take to be stored, with some room: Envoy sends both twice a second."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which traces to list. Service, version, status and attributes must all be those of one and the same span."""

    service: str = ""
    version: str = ""
    status: str = ""
    """A status code (`404`), a class (`5xx`), or `error`: a span that failed."""
    min_duration_ms: float = 0.0
    """Of the whole trace."""
    since_s: float = 0.0
    """Traces with a span that began in this many last seconds; 0: any time."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Of the span or its resource."""
    control: bool = False
    """True: calls of the control interface; False: what clients asked the chain for."""
    limit: int = DEFAULT_LIMIT


def filter_from(query: Mapping[str, str], attributes: Sequence[str] = ()) -> Filter:
    """
    Return the filter that the API's query parameters mean; `attributes` are texts `name=value`.

    A name that is not known, and a number that is not one, are `DocumentError`s, all reported at once.
    """
    problems: list[Problem] = []
    for name in query:
        if name not in ("service", "status", "minDurationMs", "sinceS", "attribute", "control", "limit"):
            problems.append(_problem(name, f"there is no filter {name[:80]!r}"))

    def number(name: str, default: float) -> float:
        text = query.get(name, "")
        try:
            return float(text) if text else default
        except ValueError:
            problems.append(_problem(name, f"{name} is {text[:80]!r}, expected a number"))
            return default

    limit = number("limit", DEFAULT_LIMIT)
    control = query.get("control", "")
    if control not in ("", "true", "false"):
        problems.append(_problem("control", f"control is {control[:80]!r}, expected 'true' or 'false'"))
    pairs = []
    for text in attributes:
        name, equals, value = text.partition("=")
        if not equals:
            problems.append(_problem("attribute", f"attribute is {text[:80]!r}, expected 'name=value'"))
        pairs.append((name, value))
    service, _, version = query.get("service", "").partition("@")
    wanted = Filter(
        service=service,
        version=version,
        status=query.get("status", ""),
        min_duration_ms=number("minDurationMs", 0.0),
        since_s=number("sinceS", 0.0),
        attributes=tuple(pairs),
        control=control == "true",
        # Not `int(limit)`: a limit that is no whole number, or none at all, is for `check` to report.
        limit=int(limit) if limit == limit // 1 else 0,
    )
    problems.extend(check(wanted))
    if problems:
        raise DocumentError(*dict.fromkeys(problems))
    return wanted


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


CONTROL = "(ParentSpanId = '' AND ScopeName = 'clover') OR ServiceName = 'control-agent'"
"""Spans that make their trace one of the control interface: it began in the control agent, or in an ambassador."""
_CALL_S = 900
"""A call that began this long ago may still have spans of now."""


def control_traces(since_s: str) -> str:
    """Return the SELECT of the traces of control calls that may have spans since so long ago ('': of all time)."""
    recent = f" AND Timestamp >= now64(9) - toIntervalSecond({since_s} + {_CALL_S})" if since_s else ""
    return f"SELECT TraceId FROM otel_traces WHERE ({CONTROL}){recent}"  # noqa: S608


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
    calls = control_traces(str(int(wanted.since_s) + 1) if wanted.since_s else "")
    spans.where(f"TraceId {'IN' if wanted.control else 'NOT IN'} ({calls})")
    slow = Query(list(spans.conditions), dict(spans.parameters))
    if wanted.service:
        spans.where("ServiceName = {service:String}", service=wanted.service)
    if wanted.version:
        spans.where("ServiceVersion = {version:String}", version=wanted.version)
    if wanted.status == "error":
        spans.where("Failed")
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
            uniqExactIf(SpanId, Failed) AS error_count,
            arraySort(groupUniqArray(ServiceName)) AS services,
            toUnixTimestamp64Nano(min(Timestamp)) AS start,
            max(toUnixTimestamp64Nano(Timestamp) + toInt64(Duration))
                > toUnixTimestamp64Nano(now64(9)) - {{arrival_ns:Int64}} AS arriving
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
    return sql, spans.parameters | {"limit": wanted.limit, "arrival_ns": int(ARRIVAL_S * 1e9)}


WINDOWS_S = (60.0, 900.0, 6 * 3600.0)
"""How far back a search looks first: most people ask for the newest, and the table is ordered by time."""


async def find_traces(store: Answers, wanted: Filter) -> list[TraceSummary]:
    """Return the traces wanted, newest first; a filter that means nothing is a `DocumentError`."""
    if problems := tuple(check(wanted)):
        raise DocumentError(*problems)
    for window_s in WINDOWS_S:
        if not wanted.since_s or window_s < wanted.since_s:
            rows = await store.query(*search_query(replace(wanted, since_s=window_s)))
            if len(rows) == wanted.limit:
                break
    else:
        rows = await store.query(*search_query(wanted))
    ended = await reasons(store, (row["trace_id"] for row in rows))
    return [_summary(row, ended.get(row["trace_id"], "")) for row in rows]


def _summary(row: Mapping[str, Any], why: str) -> TraceSummary:
    service, name, duration_ns = row["root"]
    return TraceSummary(
        trace_id=row["trace_id"],
        root=f"{service} {name}".strip(),
        duration_ms=duration_ns / 1e6,
        span_count=row["span_count"],
        error_count=row["error_count"],
        services=tuple(row["services"]),
        start_unix_nano=row["start"],
        arriving=bool(row["arriving"]),
        why=why,
    )

"""What happened in a chain besides requests: alerts, and changes. Each is a log record with a word in `log`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clover.errors import DocumentError, Problem
from clover.telemetry.query.answers import Answers, Waits
from clover.telemetry.records import Change, StoredAlert, Trace

LIMIT = 10_000
"""The longest list of events."""
DEFAULT_LIMIT = 100
MESH = "mesh"
"""The function that changes of Istio resources are booked on."""
BEFORE_S = 600.0
"""How long before a trace a change may have been that is told with it."""
SOUND_S = 15.0
"""So often somebody who follows hears that there is nothing new."""
_RECEIVED_S = 10
"""Who follows looks back this far each time: a record has its time of receipt before it can be read."""
_WINDOWS_S = (900.0, 6 * 3600.0)
"""How far back a list without a beginning looks first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Alerts or changes."""

    log: str
    """What `log` says in their records."""
    make: Callable[[Mapping[str, Any]], StoredAlert | Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which events to list."""

    since_s: float = 0.0
    """Those of this last time; 0: any time."""
    function: str = ""
    version: str = ""
    limit: int = DEFAULT_LIMIT


def window_from(query: Mapping[str, str]) -> Window:
    """Return what the API's query parameters mean. Raises DocumentError with everything that is wrong with them."""
    problems: list[Problem] = []
    for name in query:
        if name not in ("sinceS", "function", "limit", "follow"):
            problems.append(_problem(name, f"there is no filter {name[:80]!r}"))

    def number(name: str, default: float, *, least: float, most: float) -> float:
        text = query.get(name, "")
        try:
            found = float(text) if text else default
        except ValueError:
            found = -1.0
        # Written so that NaN fails too.
        if not least <= found <= most:
            problems.append(_problem(name, f"{name} is {text[:80]!r}, expected a number from {least:g} to {most:g}"))
        return found

    since_s = number("sinceS", 0.0, least=0, most=1e9)
    limit = number("limit", DEFAULT_LIMIT, least=1, most=LIMIT)
    if problems:
        raise DocumentError(*problems)
    function, _, version = query.get("function", "").partition("@")
    return Window(since_s=since_s, function=function, version=version, limit=int(limit))


def _problem(where: str, what: str) -> Problem:
    return Problem(code="CLV6010", where=where, what=what)


def _alert(row: Mapping[str, Any]) -> StoredAlert:
    said, resource = row["attributes"], row["resource"]
    return StoredAlert(
        id=said.get("clover.alert.id", ""),
        time_unix_nano=int(row["time"]),
        rule_id=_whole(said.get("clover.alert.rule_id", "")),
        message=said.get("clover.alert.message", "") or row["body"],
        severity=_whole(said.get("clover.alert.severity", "")),
        client=said.get("clover.alert.client", ""),
        method=said.get("clover.alert.method", ""),
        host=said.get("clover.alert.host", ""),
        url=said.get("clover.alert.url", ""),
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        join=said.get("clover.alert.join", "none"),
        function=row["service"],
        version=resource.get("service.version", ""),
        workload=resource.get("clover.workload", ""),
    )


def _change(row: Mapping[str, Any]) -> Change:
    said, resource = row["attributes"], row["resource"]
    return Change(
        time_unix_nano=int(row["time"]),
        function=row["service"],
        version=resource.get("service.version", ""),
        workload=resource.get("clover.workload", ""),
        method=said.get("clover.change.method", ""),
        outcome=said.get("clover.change.outcome", ""),
        generation=_whole(said.get("clover.change.generation", "")),
        previous=_whole(said.get("clover.change.previous", "")),
        how=said.get("clover.change.how", ""),
        duration_ms=_number(said.get("clover.change.duration_ms", "")),
        summary=said.get("clover.change.summary", "") or row["body"],
        diff=said.get("clover.change.diff", ""),
        trace_id=row["trace_id"],
        span_id=row["span_id"],
    )


ALERTS = Kind(log="alert", make=_alert)
CHANGES = Kind(log="change", make=_change)


async def recent(store: Waits, kind: Kind, wanted: Window) -> list[StoredAlert | Change]:
    """Return the newest events of a kind that the node has received, the oldest of them first."""
    await store.settle()
    rows: list[dict[str, Any]] = []
    for since_s in (*(window_s for window_s in _WINDOWS_S if not wanted.since_s), wanted.since_s):
        rows = await store.query(*statement(kind, replace(wanted, since_s=since_s)))
        if len(rows) == wanted.limit:
            break
    return _events(kind, rows)


def statement(kind: Kind, wanted: Window, *, received_s: int = 0) -> tuple[str, dict[str, Any]]:
    """Return the SELECT that lists events, the newest first, and its parameters; `received_s`: those just received."""
    conditions = ["Log = {log:String}"]
    parameters: dict[str, Any] = {"log": kind.log, "limit": wanted.limit}
    if wanted.since_s:
        conditions.append("Timestamp >= now64(9) - toIntervalMillisecond({since_ms:UInt64})")
        parameters["since_ms"] = int(wanted.since_s * 1000)
    if received_s:
        conditions.append("Received >= now() - toIntervalSecond({received_s:UInt64})")
        parameters["received_s"] = received_s
    if wanted.function:
        conditions.append("ServiceName = {function:String}")
        parameters["function"] = wanted.function
    if wanted.version:
        conditions.append("ServiceVersion = {version:String}")
        parameters["version"] = wanted.version
    sql = f"""
        SELECT Event FROM otel_logs WHERE {" AND ".join(conditions)}
        ORDER BY Timestamp DESC LIMIT {{limit:UInt64}}"""  # noqa: S608
    return sql, parameters


async def follow(store: Waits, kind: Kind, wanted: Window) -> AsyncIterator[StoredAlert | Change | None]:
    """
    Yield the events that there are, and go on with those that come, each once; None from time to time for nothing.

    It never ends by itself.
    """
    commits = store.commits
    told: dict[StoredAlert | Change, None] = {}
    for event in await recent(store, kind, wanted):
        told[event] = None
        yield event
    while True:
        seen, commits = commits, await store.after_next_commit(seen=commits, timeout_s=SOUND_S)
        if seen == commits:
            yield None
            continue
        newest = replace(wanted, since_s=0, limit=LIMIT)
        rows = await store.query(*statement(kind, newest, received_s=_RECEIVED_S))
        came = _events(kind, rows)
        for event in came:
            if event not in told:
                yield event
        # What was received too long ago to be read again need not be remembered.
        told = dict.fromkeys(came) if came else told


async def changes_before(store: Answers, trace: Trace, *, up_since: float = 0.0) -> list[Change]:
    """
    Return the changes that may explain a trace, the last first: those of its functions and of the mesh.

    The store outlives the chain, which begins anew with what its file says: what was changed before it came up, at
    `up_since`, says nothing of a later trace.
    """
    if not trace.spans:
        return []
    begin = min(span.start_unix_nano for span in trace.spans)
    up_since_nano = int(up_since * 1e9)
    since = max(begin - int(BEFORE_S * 1e9), up_since_nano if up_since_nano <= begin else 0)
    rows = await store.query(
        """
        SELECT Event FROM otel_logs
        WHERE Log = {log:String} AND TraceId != {id:String}
            AND Timestamp >= fromUnixTimestamp64Nano({since:Int64})
            AND Timestamp <= fromUnixTimestamp64Nano({until:Int64})
        ORDER BY Timestamp DESC LIMIT {limit:UInt64}""",
        {
            "log": CHANGES.log,
            "id": trace.trace_id,
            "since": since,
            "until": begin,
            "limit": DEFAULT_LIMIT,
        },
    )
    changes = (event for event in reversed(_events(CHANGES, rows)) if isinstance(event, Change))
    return list(_about(changes, {span.workload or span.service for span in trace.spans}))


def _events(kind: Kind, rows: Iterable[Mapping[str, Any]]) -> list[StoredAlert | Change]:
    """Return the events of rows that come newest first, oldest first, each once: a sender may have tried twice."""
    events = dict.fromkeys(kind.make(json.loads(row["Event"])) for row in rows)
    return list(reversed(events))


def _about(changes: Iterable[Change], workloads: set[str]) -> Iterable[Change]:
    return (
        change
        for change in changes
        if change.outcome == "applied" and (change.function == MESH or change.workload in workloads)
    )


def _whole(text: str) -> int:
    return int(_number(text))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0

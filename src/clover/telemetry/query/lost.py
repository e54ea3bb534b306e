"""Requests and connections that a proxy ended itself: where, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clover.telemetry.query import ways
from clover.telemetry.query.answers import Answers
from clover.telemetry.query.events import Window
from clover.telemetry.query.outcomes import NO_TLS, why

_ENDED = f"""(
            LogAttributes['flags'] NOT IN ('', '-', 'DI')
            OR LogAttributes['details'] NOT IN ('', '-', 'via_upstream', 'direct_response')
            OR LogAttributes['terminal'] NOT IN ('', '-')
            OR (LogAttributes['downstream_failure'] NOT IN ('', '-')
                AND NOT (startsWith(LogAttributes['downstream_failure'], '{NO_TLS}')
                    AND LogAttributes['filter_chain'] NOT IN ('', '-')))
            OR LogAttributes['route'] = 'block_all'
            OR (startsWith(LogAttributes['upstream_host'], '/')
                AND if(LogAttributes['method'] IN ('', '-'),
                    LogAttributes['bytes_sent'] = '0', startsWith(LogAttributes['status'], '5'))))"""
"""
Not so: what a function answered, also after a delay that a rule makes, and what a policy is meant to answer.

The last of them are what may have failed outside of the chain: `ways` knows.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One request or connection that did not get through."""

    time_unix_nano: int
    function: str
    workload: str
    direction: str
    """`inbound`, `outbound` or `gateway`: which side of the proxy took it."""
    what: str
    """`GET /x`, or `tcp to 10.96.0.2:9180`."""
    status: int
    """HTTP status that the client got; 0: it got none."""
    flags: str
    """Envoy's response flags."""
    details: str
    listener: str
    """The filter chain that took it; '': none did, or an older record."""
    why: str
    trace_id: str

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "timeUnixNano": self.time_unix_nano,
            "function": self.function,
            "workload": self.workload,
            "direction": self.direction,
            "what": self.what,
            "status": self.status,
            "flags": self.flags,
            "details": self.details,
            "listener": self.listener,
            "why": self.why,
            "traceId": self.trace_id,
        }


async def lost(store: Answers, wanted: Window) -> list[Lost]:
    """Return the newest requests and connections that a proxy ended itself, the oldest of them first."""
    rows = list(reversed(await store.query(*statement(wanted))))
    told = await ways.with_failures(store, [(int(row["time"]), row["attributes"]) for row in rows])
    found = (_lost(row, said) for row, said in zip(rows, told, strict=True))
    return [one for one in found if one.why]


_REASONS = f"""
    SELECT TraceId AS trace_id, toUnixTimestamp64Nano(Timestamp) AS time, LogAttributes AS attributes
    FROM otel_logs
    WHERE TraceId IN (SELECT arrayJoin(splitByChar(',', {{ids:String}}))) AND Log = 'envoy' AND {_ENDED}
    ORDER BY Timestamp DESC LIMIT 20 BY TraceId"""  # noqa: S608 -- made of our own words alone


async def reasons(store: Answers, trace_ids: Iterable[str]) -> dict[str, str]:
    """Return, for each of the traces that a proxy ended, why: what the first proxy that did says."""
    ids = ",".join(trace_ids)
    rows = await store.query(_REASONS, {"ids": ids}) if ids else []
    told = await ways.with_failures(store, [(int(row["time"]), row["attributes"]) for row in rows])
    found = ((row["trace_id"], why(said)) for row, said in zip(rows, told, strict=True))
    return {trace_id: reason for trace_id, reason in found if reason}


def statement(wanted: Window) -> tuple[str, dict[str, Any]]:
    """Return the SELECT that lists records of what proxies ended, the newest first, and its parameters."""
    conditions = ["Log = 'envoy'", _ENDED]
    parameters: dict[str, Any] = {"limit": wanted.limit}
    if wanted.since_s:
        conditions.append("Timestamp >= now64(9) - toIntervalMillisecond({since_ms:UInt64})")
        parameters["since_ms"] = int(wanted.since_s * 1000)
    if wanted.function:
        conditions.append("ServiceName = {function:String}")
        parameters["function"] = wanted.function
    if wanted.version:
        conditions.append("ServiceVersion = {version:String}")
        parameters["version"] = wanted.version
    sql = f"""
        SELECT toUnixTimestamp64Nano(Timestamp) AS time, ServiceName AS service, Workload AS workload,
            TraceId AS trace_id, LogAttributes AS attributes
        FROM otel_logs WHERE {" AND ".join(conditions)}
        ORDER BY Timestamp DESC LIMIT {{limit:UInt64}}"""  # noqa: S608 -- made of our own words alone
    return sql, parameters


def _lost(row: Mapping[str, Any], said: Mapping[str, str]) -> Lost:
    method, path = said.get("method", "").strip("-"), said.get("path", "").strip("-")
    status = said.get("status", "")
    return Lost(
        time_unix_nano=int(row["time"]),
        function=row["service"],
        workload=row["workload"],
        direction=said.get("direction", ""),
        what=f"{method} {path}" if method else f"tcp to {said.get('downstream_local', '')}",
        status=int(status) if status.isascii() and status.isdigit() else 0,
        flags=said.get("flags", "").strip("-"),
        details=said.get("details", "").strip("-") or said.get("terminal", "").strip("-"),
        listener=said.get("filter_chain", "").strip("-"),
        why=why(said),
        trace_id=row["trace_id"],
    )

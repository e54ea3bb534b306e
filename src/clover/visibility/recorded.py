"""
What the node itself records: changes of the mesh, processes that died, and endpoints that were not reached and why.

Changes have the shape of those of the ambassadors: `clover changes` shows both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clover.errors import CloverError
from clover.mesh.controller import Outcome
from clover.telemetry import otlp
from clover.telemetry.query import ways
from clover.telemetry.query.events import CHANGES, MESH

EVENT = "clover.change"
APPLIED, UNCHANGED, REFUSED = "applied", "unchanged", "refused"
RESTARTED, TOLD = "restarted", ""
_NAMED = 5
"""So many resources a summary names; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One change of the mesh, or of what runs."""

    method: str
    """`apply` or `delete`; `restart`, `up` or `down`."""
    outcome: str
    """`applied`, `unchanged` or `refused`; `restarted`; '' of what is only told."""
    summary: str
    duration_ms: float = 0.0
    """Until every sidecar had acknowledged it."""


def made(method: str, outcome: Outcome) -> Recorded:
    """Return the record of a change that the mesh took."""
    changes = [
        f"{change.kind} {change.namespace}/{change.name} {change.action}"
        for change in outcome.changes
        if change.action != "unchanged"
    ]
    return Recorded(
        method=method,
        outcome=APPLIED if changes else UNCHANGED,
        summary=_listed(changes) or "nothing changed",
        duration_ms=outcome.acknowledged_ms,
    )


def failed(method: str, failure: CloverError) -> Recorded:
    """Return the record of a change that was refused, or taken back."""
    told = [f"{problem.where}: {problem.what} [{problem.code}]" for problem in failure.problems]
    return Recorded(method=method, outcome=REFUSED, summary=_listed(told)[:1000])


def came_up(chain: str) -> Recorded:
    """Return the record that a life of the chain begins: it has what its file means, whatever was changed before."""
    return Recorded(method="up", outcome=TOLD, summary=f"chain {chain} came up")


def went_down(chain: str) -> Recorded:
    """Return the record that a life of the chain ends because somebody asked for it."""
    return Recorded(method="down", outcome=TOLD, summary=f"chain {chain} went down")


def restarted(what: str, ending: str) -> Recorded:
    """Return the record of a process that died by itself: `http-lb-v1 haproxy`, `killed by SIGKILL`."""
    return Recorded(method="restart", outcome=RESTARTED, summary=f"{what}: {ending}, started again")


def request(change: Recorded, *, chain: str, time_unix_nano: int, resource: Mapping[str, str] | None = None) -> bytes:
    """Return an OTLP `ExportLogsServiceRequest` with the record; `resource`: of the function, if it is about one."""
    record = otlp.LogRecord(
        time_unix_nano=time_unix_nano,
        event=EVENT,
        body=f"{change.method}: {change.summary}",
        attributes={
            "log": CHANGES.log,
            "clover.change.method": change.method,
            "clover.change.outcome": change.outcome,
            "clover.change.summary": change.summary,
            "clover.change.duration_ms": round(change.duration_ms, 3),
        },
        severity=otlp.WARN if change.outcome in (REFUSED, RESTARTED) else otlp.INFO,
    )
    return otlp.logs_request(resource or {"service.name": MESH, "service.namespace": chain}, [record])


def unreached(failures: Sequence[tuple[str, str]], *, chain: str, time_unix_nano: int) -> bytes:
    """Return an OTLP `ExportLogsServiceRequest` with the sockets of ways, and what the way out said of each."""
    records = [
        otlp.LogRecord(
            time_unix_nano=time_unix_nano,
            event=f"clover.{ways.LOG}",
            body=words,
            attributes={"log": ways.LOG, ways.SOCKET: socket},
            severity=otlp.WARN,
        )
        for socket, words in failures
    ]
    return otlp.logs_request({"service.name": ways.LOG, "service.namespace": chain}, records)


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_NAMED])
    return f"{shown} and {len(items) - _NAMED} more" if len(items) > _NAMED else shown

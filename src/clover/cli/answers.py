"""What the node's API answers, as types: the shapes that the client commands read and print."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

ProblemAnswer = dict[str, str]
"""code, where, what, hint, severity."""


class SidecarAnswer(TypedDict):
    """The proxy of one workload."""

    state: str
    restarts: int
    pid: int
    configVersion: str
    acknowledged: bool
    lastExit: NotRequired[str]
    """How it ended last time, with its last words; empty if it never did."""


class CompanionAnswer(TypedDict):
    """What runs beside an engine: its ambassador, a reader of its log."""

    state: str
    restarts: int
    pid: int
    lastExit: str


class WorkloadAnswer(TypedDict):
    """One running instance of a function."""

    function: str
    version: str
    workload: str
    engine: str
    state: str
    ready: bool
    address: str
    restarts: int
    sidecar: NotRequired[SidecarAnswer]
    companions: NotRequired[dict[str, CompanionAnswer]]
    rps: float | None
    errorRate: float | None
    """Share of answers that are 5xx, 0 to 1."""
    p50Ms: float | None
    """None without traffic."""
    p99Ms: float | None
    lastExit: NotRequired[str]


class StoreAnswer(TypedDict, total=False):
    """The telemetry store."""

    path: str
    spans: int
    logs: int
    refused: int
    lost: int
    bytes: int


class StatusAnswer(TypedDict):
    """A whole chain."""

    chain: str
    gateway: str
    uptimeS: float
    state: str
    workloads: list[WorkloadAnswer]
    problems: list[ProblemAnswer]
    store: NotRequired[StoreAnswer]


class TraceSummary(TypedDict):
    """One line of `clover traces`."""

    traceId: str
    root: str
    durationMs: float
    spanCount: int
    errorCount: int
    services: list[str]
    startUnixNano: int
    arriving: NotRequired[bool]
    """More of its spans may be on their way."""
    why: NotRequired[str]
    """Why a proxy ended the request; '' when none did."""


class SpanAnswer(TypedDict):
    """One span, with times already in milliseconds."""

    spanId: str
    parentSpanId: str
    service: str
    version: str
    workload: str
    name: str
    kind: str
    startUnixNano: int
    durationMs: float
    selfMs: float
    status: str
    attributes: dict[str, str]
    proxy: bool
    """True when a sidecar or the gateway made it, False for a function's own."""


class LogAnswer(TypedDict):
    """One log line that belongs to a trace."""

    timestampUnixNano: int
    service: str
    version: str
    workload: NotRequired[str]
    spanId: str
    body: str
    attributes: dict[str, str]
    why: NotRequired[str]
    """Why a proxy ended itself what its access record is about; '' when it did not."""
    remarks: NotRequired[list[str]]
    """What policies did beside that."""


class BreakdownAnswer(TypedDict):
    """Where one function's share of a trace went."""

    service: str
    version: str
    proxyMs: float
    functionMs: float
    networkMs: float


class StoredChangeAnswer(TypedDict):
    """What was changed while the chain ran, or should have been."""

    timeUnixNano: int
    function: str
    version: str
    workload: str
    method: str
    outcome: str
    generation: int
    previous: int
    how: str
    durationMs: float
    summary: str
    diff: str
    traceId: str
    spanId: str


class TraceAnswer(TypedDict):
    """One trace whole."""

    traceId: str
    complete: bool
    incompleteBecause: list[str]
    durationMs: float
    spans: list[SpanAnswer]
    logs: list[LogAnswer]
    breakdown: list[BreakdownAnswer]
    beside: NotRequired[list[BreakdownAnswer]]
    """Of copies of the request, which nobody waited for."""
    changes: NotRequired[list[StoredChangeAnswer]]
    """What was changed before the trace began and may explain it, the last first."""


class ChangeAnswer(TypedDict):
    """What happened to one Istio resource."""

    kind: str
    name: str
    namespace: str
    action: str
    before: NotRequired[dict[str, Any] | None]
    """Of a dry run: the resource in force; None: there is none."""
    after: NotRequired[dict[str, Any]]
    """Of a dry run: what was applied."""


class ApplyAnswer(TypedDict):
    """What `apply` or `delete` did."""

    resources: list[ChangeAnswer]
    warnings: list[ProblemAnswer]
    acknowledgedMs: float
    proxies: int


class ResourcesAnswer(TypedDict):
    """The Istio resources in force."""

    items: list[dict[str, Any]]

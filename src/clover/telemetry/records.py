"""What the store answers with: traces, their spans and log lines, and rates; and how each looks as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One timed step of a trace."""

    span_id: str
    parent_span_id: str
    """'' for a span that nothing caused."""
    service: str
    version: str
    workload: str
    name: str
    kind: str
    """`Server`, `Client`, `Internal`, `Producer`, `Consumer` or `Unspecified`."""
    start_unix_nano: int
    duration_ms: float
    self_ms: float = 0.0
    """The part of `duration_ms` in which none of its children ran; copies that it sent are none of them."""
    status: str = "Unset"
    """`Unset`, `Ok` or `Error`."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    proxy: bool = False
    """A sidecar or the gateway made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One log record."""

    timestamp_unix_nano: int
    service: str
    version: str
    workload: str
    span_id: str
    """'' when the line says nothing of a span."""
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    """Why a proxy ended itself what its access record is about; '' when it did not."""
    remarks: tuple[str, ...] = ()
    """What policies did beside that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Where one workload's part of a trace's time went."""

    service: str
    version: str
    proxy_ms: float
    """Inside its Envoy."""
    function_ms: float
    """Inside the function: after its sidecar handed a request over, while no request of its own was under way."""
    network_ms: float
    """After its Envoy sent a request to another one, and before that one began, and on the way back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything stored about one trace."""

    trace_id: str
    complete: bool
    incomplete_because: tuple[str, ...]
    """Empty when `complete`; otherwise what is known to be missing."""
    duration_ms: float
    """What the caller waited: the duration of the span that began the trace."""
    spans: tuple[Span, ...]
    """Parents before children, children by start."""
    logs: tuple[LogLine, ...]
    """By time."""
    breakdown: tuple[Share, ...]
    """In the order in which the request reached them; together they are as long as the request, if it is whole."""
    beside: tuple[Share, ...] = ()
    """Of the copies of the request, which nobody waited for."""

    def as_json(self) -> dict[str, Any]:
        """Return the trace as the API and `--json` show it."""
        return _members(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """One line of a list of traces."""

    trace_id: str
    root: str
    """Service and name of the span that began it."""
    duration_ms: float
    span_count: int
    error_count: int
    services: tuple[str, ...]
    start_unix_nano: int
    arriving: bool = False
    """It ended a moment ago, and more of its spans may be on their way: the one that began it, too."""
    why: str = ""
    """Why a proxy ended the request; '' when none did."""

    def as_json(self) -> dict[str, Any]:
        """Return the line as the API and `--json` show it."""
        return _members(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlert:
    """What an intrusion detection system found, as it was told."""

    id: str
    time_unix_nano: int
    rule_id: int
    message: str
    severity: int
    """1 is the worst."""
    client: str
    """Who sent the request to the gateway; '' when nothing told."""
    method: str
    host: str
    url: str
    trace_id: str
    """Of the request; '' when it could not be found."""
    span_id: str
    join: str
    """How sure the trace id is: `trace-id`, `flow-transaction`, `address-time` or `none`."""
    function: str
    """The intrusion detection system."""
    version: str
    workload: str

    def as_json(self) -> dict[str, Any]:
        """Return the alert as the API and `--json` show it."""
        return _members(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was changed while the chain ran, or should have been."""

    time_unix_nano: int
    function: str
    """`mesh` when it was an Istio resource."""
    version: str
    workload: str
    method: str
    """The call that changed it: `Apply`, `AddRule`, `Block` ..., of the mesh `apply` and `delete`."""
    outcome: str
    """`applied`, or why it was not."""
    generation: int
    """In force since; 0 when the change has none."""
    previous: int
    how: str
    """`runtime`, `reload` or ''."""
    duration_ms: float
    summary: str
    diff: str
    trace_id: str
    """Of the call, or of what caused the change; '' for changes of the mesh."""
    span_id: str

    def as_json(self) -> dict[str, Any]:
        """Return the change as the API and `--json` show it."""
        return _members(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one version of a service did in the last seconds."""

    service: str
    version: str
    workload: str
    rps: float
    error_rate: float
    """Share of requests answered with a status of 500 and above, or not answered: 0 to 1."""
    p50_ms: float
    p99_ms: float


def _members(record: Any) -> dict[str, Any]:
    """Return the fields of a record, with names in camelCase."""
    return {_camel(item.name): _json(getattr(record, item.name)) for item in fields(record)}


def _json(value: Any) -> Any:
    if is_dataclass(value):
        return _members(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)

"""What a cluster is spared: the limits of its connections and requests, and endpoints that answer badly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """TCP keep-alive probes; None: the kernel's own value."""

    probes: int | None = None
    time_s: int | None = None
    interval_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Keepalive:
    """HTTP/2's own probes: how often, and how long an answer may take before the connection is given up."""

    interval_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many of the requests under way may be retries."""

    percent: float = 20.0
    least: int = 3
    """So many at any time, however few requests there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Connection pool and circuit breaker of a cluster; None: no limit."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int | None = None
    max_concurrent_streams: int | None = None
    connect_timeout_s: float = 10.0
    idle_timeout_s: float | None = None
    max_connection_duration_s: float | None = None
    keepalive: Keepalive | None = None
    http2_keepalive: Http2Keepalive | None = None
    retry_budget: RetryBudget | None = None
    """In place of `max_retries`."""


NO_LIMITS = Limits()
"""As nobody has said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When an endpoint that answers badly is left alone for a while."""

    consecutive_5xx: int | None = None
    """None: not counted."""
    consecutive_gateway_errors: int | None = None
    consecutive_local_origin_failures: int | None = None
    split_local_origin_errors: bool = False
    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    statuses: tuple[int, ...] = ()
    """Answers that are errors; empty: all 5xx."""

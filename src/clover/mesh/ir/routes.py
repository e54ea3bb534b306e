"""Where HTTP requests go: tables of virtual hosts, whose routes are tried in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from clover.mesh.ir.actions import DirectResponse, Forward, Redirect
from clover.mesh.ir.headers import NO_CHANGES, HeaderChanges
from clover.mesh.ir.matches import RequestMatch, StringMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When and how often a failed attempt is made again."""

    attempts: int
    """Attempts after the first; 0 switches retries off."""
    conditions: tuple[str, ...]
    """Envoy's `retry_on` words."""
    status_codes: tuple[int, ...] = ()
    """Extra statuses for the condition `retriable-status-codes`."""
    per_try_timeout_s: float | None = None
    backoff_s: float | None = None
    previous_hosts: bool = True
    """Avoid endpoints that were already tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Trouble made on purpose, for a share of requests in percent."""

    delay_s: float = 0.0
    delay_percent: float = 0.0
    abort_status: int = 0
    abort_grpc_status: int | None = None
    abort_percent: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Cross-origin policy of a route (Fetch standard)."""

    origins: tuple[StringMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int | None = None
    credentials: bool | None = None
    forward_unmatched_preflights: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A copy of a share of requests, its answers thrown away."""

    cluster: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule of a virtual host; the first that matches wins."""

    name: str
    """Low in cardinality: it names spans and appears in access logs."""
    match: RequestMatch
    action: Forward | Redirect | DirectResponse
    timeout_s: float = 0.0
    """0: no limit."""
    keeps_deadline: bool = True
    """True: a gRPC call ends when the deadline that its client set is over; False: whoever sent it on sees to that."""
    retries: Retries | None = None
    fault: Fault | None = None
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES
    stat_prefix: str = ""
    """'': the route has no statistics of its own."""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """Routes for some Host values; `*` is any."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = field(hash=False)
    """Equal hosts have equal routes, but a hash of them all would be worked out for every host of every large table."""
    only_tls: bool = False
    """True: who comes without TLS is sent to `https`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """What a listener's HTTP traffic is matched against."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    sources: tuple[str, ...] = ()

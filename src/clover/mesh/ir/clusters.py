"""What a proxy may send to: sets of endpoints, and how one of them is picked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clover.mesh.ir.limits import NO_LIMITS, Limits, OutlierDetection
from clover.mesh.ir.protocol import Protocol

PASSTHROUGH = "PassthroughCluster"
"""The cluster that every sidecar has without being told: the address that was dialled."""
BLACK_HOLE = "BlackHoleCluster"
"""The cluster that every sidecar has without being told: it leads nowhere, and its connections are recorded."""


class Balancing(StrEnum):
    """How a cluster picks an endpoint."""

    ROUND_ROBIN = "round-robin"
    LEAST_REQUEST = "least-request"
    RANDOM = "random"
    PASSTHROUGH = "passthrough"
    RING_HASH = "ring-hash"
    MAGLEV = "maglev"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """How the share of an endpoint grows that has just come; None: as Envoy."""

    window_s: float
    aggression: float | None = None
    least_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshTls:
    """Mutual TLS towards a service, with the certificates of the mesh."""

    sni: str
    """Istio's: `outbound_.9180_.v1_.http-lb.default.svc.cluster.local`."""
    principals: tuple[str, ...] = ()
    """SPIFFE ids of which the server must show one; empty: any that the mesh has given out."""
    detected: bool = False
    """True: only towards endpoints that take it, in plain text to the others (Istio's auto-mTLS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginTls:
    """TLS towards a server whose certificate somebody else made."""

    sni: str = ""
    """'': the request's Host."""
    names: tuple[str, ...] = ()
    """Names of which the server's certificate must have one; empty: that of `sni`, or of the request's Host."""
    roots: str = ""
    """Name of the secret with the authorities that are believed; '': whoever answers is believed."""
    identity: str = ""
    """Name of the secret with this side's own certificate; '': none is shown."""


class Discovery(StrEnum):
    """How a proxy finds the members of a cluster."""

    TOLD = "told"
    """They are sent to it."""
    DNS = "dns"
    """It resolves their names, and all addresses are members."""
    DNS_ROUND_ROBIN = "dns-round-robin"
    """It resolves the name, and each new connection takes the first address."""
    DIALLED = "dialled"
    """There is one: the address that was dialled."""
    ASKED = "asked"
    """There is one: whatever name is asked for. Whoever looks it up is told it with each connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A set of endpoints that a proxy may send to."""

    name: str
    """Istio's: `outbound|9180|v1|http-lb.default.svc.cluster.local`."""
    protocol: Protocol = Protocol.AUTO
    """AUTO: speaks upstream what the client spoke."""
    balancing: Balancing = Balancing.LEAST_REQUEST
    ring_size: int | None = None
    """Minimum ring size, or Maglev table size; None: Istio's default."""
    warmup: Warmup | None = None
    """For round robin and least request."""
    limits: Limits = NO_LIMITS
    outliers: OutlierDetection | None = None
    h2_upgrade: bool = False
    """True: HTTP/1.1 requests are sent on as HTTP/2."""
    tls: MeshTls | OriginTls | None = None
    """None: connections are made in plain text."""
    proxy_protocol: int = 0
    """Version of the PROXY protocol with which connections begin; 0: without it."""
    discovery: Discovery = Discovery.TOLD
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One workload that takes traffic for a cluster."""

    address: str
    port: int
    workload: str
    """'': it is none of the chain's."""
    weight: int = 1
    locality: str = ""
    """`region/zone/subzone`, as far as it is known."""
    outside: bool = False
    """True: the network of the workloads does not reach it."""
    loopback: bool = False
    """True: it may be at this machine's own loopback, where `outside` alone may not lead."""
    mtls: bool = False
    """True: its proxy takes the mesh's mutual TLS at this port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The endpoints of one cluster; an empty set answers 503 with the flag UH."""

    cluster: str
    members: tuple[Endpoint, ...]

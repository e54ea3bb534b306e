"""One proxy: who it is, what stands before it, and everything else that it is told."""

from __future__ import annotations

from dataclasses import dataclass

from clover.mesh.access import OPEN, Access
from clover.mesh.authentication import NO_TOKENS, Authentication
from clover.mesh.ir.clusters import PASSTHROUGH, Cluster, Endpoints
from clover.mesh.ir.gateways import GatewayPort
from clover.mesh.ir.peers import STRANGERS, Peers
from clover.mesh.ir.ports import InboundPort, OutboundPort
from clover.mesh.ir.routes import RouteTable
from clover.mesh.reporting import EVERYTHING, Reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a proxy stands beside; becomes the resource of its spans and logs."""

    chain: str
    namespace: str
    function: str
    """`gateway` for the gateway."""
    version: str = ""
    workload: str
    reports: Reports = EVERYTHING
    """What the proxy tells of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What stands before everything that a proxy takes for its function."""

    access: Access = OPEN
    authentication: Authentication = NO_TOKENS

    @property
    def sources(self) -> tuple[str, ...]:
        """The author's resources that it came from."""
        return (*self.access.sources, *self.authentication.sources)

    def at_port(self, port: int) -> Guard:
        """Return what stands before one port of a sidecar."""
        return Guard(access=self.access.at_port(port), authentication=self.authentication.at_port(port))

    def at_gateway(self, opened_by: tuple[str, ...]) -> Guard:
        """Return what stands before a port of a gateway, by the resources that opened it."""
        return Guard(access=self.access.at_gateway(opened_by), authentication=self.authentication.at_gateway(opened_by))


UNGUARDED = Guard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Everything that one proxy is told."""

    node: str
    """Its xDS node id: the workload's name."""
    identity: Identity
    principal: str = ""
    """Its SPIFFE id, which its certificate proves; '': it has no certificate."""
    guard: Guard = UNGUARDED
    peers: Peers = STRANGERS
    inbound: tuple[InboundPort, ...] = ()
    outbound: tuple[OutboundPort, ...] = ()
    unclaimed: str = PASSTHROUGH
    """Cluster for connections of the function that no `outbound` port takes."""
    gateways: tuple[GatewayPort, ...] = ()
    tables: tuple[RouteTable, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    endpoints: tuple[Endpoints, ...] = ()

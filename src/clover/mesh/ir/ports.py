"""Where a sidecar takes connections: for its function, and from it."""

from __future__ import annotations

from dataclasses import dataclass

from clover.mesh.ir.connections import AS_LONG_AS_USED, Lifetime, TcpRoute
from clover.mesh.ir.peers import PeerMode
from clover.mesh.ir.protocol import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPort:
    """A port on which the proxy's own function takes traffic."""

    port: int
    protocol: Protocol
    service: str
    """Host name of the service that it belongs to."""
    grpc_web: bool = False
    """True: browsers may speak gRPC-Web to it, and the function hears gRPC."""
    endpoint: str = ""
    """Where the function takes it: `127.0.0.1:8080` or `unix:///path`; '': at the port that was dialled."""
    peers: PeerMode = PeerMode.DISABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPort:
    """A service address that the proxy's own function may dial."""

    service: str
    address: str
    """Virtual address of the service; `0.0.0.0` for a port that is shared by all HTTP services."""
    port: int
    protocol: Protocol
    routes: str = ""
    """Name of the route table for its HTTP traffic."""
    cluster: str = ""
    """Cluster for its other traffic; '' where `tcp` says it all."""
    tcp: tuple[TcpRoute, ...] = ()
    """What becomes of its other traffic before `cluster` is asked."""
    lifetime: Lifetime = AS_LONG_AS_USED
    """Of connections to `cluster`."""

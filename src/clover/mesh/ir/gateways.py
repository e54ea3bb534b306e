"""Where a gateway takes connections from outside the mesh."""

from __future__ import annotations

from dataclasses import dataclass

from clover.mesh.ir.connections import TcpRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """How a gateway ends the TLS of its clients."""

    identity: str
    """Name of the secret with its certificate and key."""
    roots: str = ""
    """Name of the secret with the authorities of its clients' certificates; '': none is asked for."""
    optional: bool = False
    """True: a client may do without a certificate."""
    names: tuple[str, ...] = ()
    """Names of which a client's certificate must have one; empty: any."""
    oldest: str = "1.2"
    newest: str = "1.3"
    ciphers: tuple[str, ...] = ()
    """Of TLS 1.2 and older; empty: Envoy's choice."""
    words: tuple[str, ...] = ()
    """ALPN protocols, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServer:
    """What becomes of the connections to a gateway's port that ask for some hosts (SNI)."""

    name: str
    hosts: tuple[str, ...] = ()
    """Names or `*.` wildcards that the client's TLS asks for; empty: any, and connections without TLS."""
    tls: ServerTls | None = None
    """None: bytes are carried as they come."""
    routes: str = ""
    """Name of the route table for HTTP."""
    tcp: tuple[TcpRoute, ...] = ()
    """Without `routes`: where the bytes go."""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPort:
    """A host address on which the gateway takes connections from outside the mesh."""

    address: str
    port: int
    routes: str = ""
    """Name of the route table for plain HTTP; '': see `servers`."""
    servers: tuple[GatewayServer, ...] = ()
    """Without `routes`: TLS and TCP, told apart by the name that the client asks for."""
    sources: tuple[str, ...] = ()

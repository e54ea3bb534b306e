"""Which protocol a service port speaks: what it declares, or its first bytes (Istio's protocol selection)."""

from __future__ import annotations

from clover.mesh.ir import Protocol
from clover.mesh.istio import protocols
from clover.mesh.istio.registry import ServicePort

_PROTOCOLS = {
    "HTTP": Protocol.HTTP,
    "GRPC-WEB": Protocol.HTTP2,
    "HTTP2": Protocol.HTTP2,
    "GRPC": Protocol.HTTP2,
}


def protocol_of(port: ServicePort) -> Protocol:
    """Return how a port's bytes are treated."""
    if declared := protocols.declared(port):
        return _PROTOCOLS.get(declared, Protocol.TCP)
    return Protocol.TCP if port.number in protocols.SERVER_SPEAKS_FIRST else Protocol.AUTO


def is_tls(port: ServicePort) -> bool:
    """Tell whether clients of a port say a server name before anything is encrypted."""
    return protocols.declared(port) in protocols.TLS


def is_grpc_web(port: ServicePort) -> bool:
    """Tell whether browsers may speak gRPC-Web to a port; its function hears gRPC."""
    return protocols.declared(port) == protocols.GRPC_WEB

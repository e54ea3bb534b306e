"""Which protocol a service port speaks: what it declares, its name, or its first bytes (Istio's protocol selection)."""

from __future__ import annotations

from clover.mesh.ir import Protocol
from clover.mesh.istio.protocols import APP_PROTOCOLS, NAMES, SERVER_SPEAKS_FIRST
from clover.mesh.istio.port_names import GRPC_WEB, TLS, declared
from clover.mesh.istio.registry import ServicePort

_PROTOCOLS = {
    "HTTP": Protocol.HTTP,
    "GRPC-WEB": Protocol.HTTP,
    "HTTP2": Protocol.HTTP2,
    "GRPC": Protocol.HTTP2,
}
_TLS = frozenset({"TLS", "HTTPS"})


def protocol_of(port: ServicePort) -> Protocol:
    """Return how a port's bytes are treated."""
    declared = declared_protocol(port)
    if declared:
        return _PROTOCOLS.get(declared, Protocol.TCP)
    return Protocol.TCP if port.number in SERVER_SPEAKS_FIRST else Protocol.AUTO


def is_tls(port: ServicePort) -> bool:
    """Tell whether clients of a port say a server name before anything is encrypted."""
    return declared_protocol(port) in _TLS


def declared_protocol(port: ServicePort) -> str:
    """Return the protocol that a port declares, in capital letters; '': none."""
    if port.protocol is not None:
        return port.protocol
    if port.app_protocol:
        known = APP_PROTOCOLS.get(port.app_protocol.lower(), port.app_protocol)
        return known.upper() if known.upper() in NAMES else ""
    # `grpc-web` is the one name with a dash in it.
    name = port.name.upper()
    prefix = "GRPC-WEB" if name == "GRPC-WEB" or name.startswith("GRPC-WEB-") else name.split("-")[0]
    return prefix if prefix in NAMES else ""

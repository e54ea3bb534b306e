"""Which protocol a service port speaks, by its name, as on Kubernetes with Istio."""

from __future__ import annotations

from clover.mesh.ir import Protocol
from clover.mesh.istio.registry import ServicePort

_BY_PREFIX = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.HTTP2,
    "tcp": Protocol.TCP,
    "tls": Protocol.TCP,
    "https": Protocol.TCP,
    "mongo": Protocol.TCP,
    "mysql": Protocol.TCP,
    "redis": Protocol.TCP,
}
_SERVER_SPEAKS_FIRST = frozenset({25, 53, 3306, 27017})
"""Ports of protocols whose client waits for the server: looking at its first bytes would wait for ever."""


def protocol_of(port: ServicePort) -> Protocol:
    """Return how a port's bytes are treated."""
    prefix = "http" if port.name == "grpc-web" or port.name.startswith("grpc-web-") else port.name.split("-")[0]
    if prefix in _BY_PREFIX:
        return _BY_PREFIX[prefix]
    return Protocol.TCP if port.number in _SERVER_SPEAKS_FIRST else Protocol.AUTO

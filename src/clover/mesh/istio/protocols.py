"""Which protocol a port declares: in a field of its own, or by its name, as on Kubernetes with Istio."""

from __future__ import annotations

from clover.mesh.istio.registry import ServicePort

NAMES = frozenset({"HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS"})
"""Istio's, but for UDP, which no sidecar carries."""
APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
"""Kubernetes' own words for `appProtocol`; others are the names above."""
SERVER_SPEAKS_FIRST = frozenset({25, 53, 3306, 27017})
"""Ports of protocols whose client waits for the server: looking at its first bytes would wait for ever."""
TLS = frozenset({"TLS", "HTTPS"})
HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
GRPC_WEB = "GRPC-WEB"
PROXIES_OWN = frozenset({15001, 15006})
"""Ports to which interception brings every connection: a listener of a service there would be in the way."""


def declared(port: ServicePort) -> str:
    """Return the protocol that a port declares, in capital letters; '': none, or none that is known."""
    if port.protocol is not None:
        said = port.protocol.upper()
    elif port.app_protocol:
        said = APP_PROTOCOLS.get(port.app_protocol.lower(), port.app_protocol).upper()
    else:
        name = port.name.upper()
        # The one protocol with a dash in its name.
        said = GRPC_WEB if name == GRPC_WEB or name.startswith(f"{GRPC_WEB}-") else name.split("-")[0]
    return said if said in NAMES else ""

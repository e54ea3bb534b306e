"""The names of protocols, as ports declare them."""

from __future__ import annotations

NAMES = frozenset({"HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS"})
"""Istio's, but for UDP, which no sidecar carries."""
APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
"""Kubernetes' own words for `appProtocol`; others are the names above."""
SERVER_SPEAKS_FIRST = frozenset({25, 53, 3306, 27017})
"""Ports of protocols whose client waits for the server: looking at its first bytes would wait for ever."""

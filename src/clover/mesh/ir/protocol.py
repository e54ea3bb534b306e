"""How the bytes of a port or of a cluster are treated."""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """How a port's bytes are treated (Istio: explicit protocol selection)."""

    AUTO = "auto"
    """HTTP/1.1 and h2c are recognised by their first bytes, all else is carried as TCP."""
    HTTP = "http"
    HTTP2 = "http2"
    """HTTP/2 with prior knowledge; gRPC is this."""
    TCP = "tcp"

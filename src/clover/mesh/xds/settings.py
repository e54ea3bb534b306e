"""What the compiler is told about the place where the proxies run; the same for all proxies of a chain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Numbers and names shared by the interception rules, the bootstrap and the listeners."""

    mark: int = 1337
    """Socket mark of the proxies' own connections, which interception leaves alone; 0: none is set."""
    outbound_port: int = 15001
    inbound_port: int = 15006
    inbound_source: str = "127.0.0.6"
    """Source address of connections to the proxy's own function, so that they are not captured again."""
    gateway_proxy_protocol: bool = False
    """Connections to the gateway begin with a PROXY protocol header (whose client it is); others are closed."""
    detection_timeout_s: float = 0.0
    """How long a client of a protocol-detected port may stay silent before its bytes count as TCP; 0: for ever."""
    http10: bool = False
    """HTTP/1.0 is taken for HTTP: otherwise it is refused where HTTP is declared, and TCP where it is detected."""
    way_out: str = ""
    """
    Folder with a Unix socket for each endpoint that the network of the workloads does not reach, and whose name nobody
    there could resolve; '': proxies reach endpoints and resolve names themselves.
    """
    otlp_cluster: str = "clover-otlp"
    """Bootstrap cluster that takes spans and access logs; '': neither is sent."""
    log_flush_s: float = 0.5
    """How long an access log record may wait for company."""
    log_buffer_bytes: int = 256 * 1024
    """How much company it may have; Envoy's own 16 kB are a dozen records, and each export costs both ends."""


CONTROL_PLANE = "@clover-control-plane"
"""Abstract Unix socket, in each workload's own network, where its sidecar finds the control plane."""
OTLP_CLUSTER = "clover-otlp"
XDS_CLUSTER = "clover-xds"
DEFAULTS = Settings()

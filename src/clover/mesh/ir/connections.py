"""Where connections go whose bytes are not read."""

from __future__ import annotations

from dataclasses import dataclass

from clover.mesh.ir.actions import WeightedCluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long connections are kept whose bytes are not read."""

    idle_s: float | None = None
    """Without a byte; None: an hour, 0: for ever."""
    most_s: float | None = None
    """None: for ever."""


AS_LONG_AS_USED = Lifetime()
"""Without a limit of anybody's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpRoute:
    """Where connections go whose bytes are not read; the most specific match wins, whatever the order."""

    name: str
    to: tuple[WeightedCluster, ...]
    """Shares, without changes of headers."""
    destinations: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`) that were dialled; empty: whatever the listener takes."""
    server_names: tuple[str, ...] = ()
    """Names that a TLS client says (`*.example.com` for all below it); empty: any, or none."""
    tls: bool = False
    """True: only connections that begin with TLS, which is not terminated."""
    asked: bool = False
    """True: they go to the name that the TLS client says, which is told with each connection (`Discovery.ASKED`)."""
    lifetime: Lifetime = AS_LONG_AS_USED
    sources: tuple[str, ...] = ()

"""Which engines can do the work of which function type; the first of each type is its default."""

from __future__ import annotations

from clover.spec.chain import FunctionType

COMMAND = "command"
"""The engine of an author's own server."""

ENGINES: dict[FunctionType, tuple[str, ...]] = {
    FunctionType.FIREWALL: ("modsecurity",),
    FunctionType.LOAD_BALANCER: ("haproxy", "nginx"),
    FunctionType.CACHE: ("nginx", "varnish"),
    FunctionType.IDS: ("suricata", "snort"),
    FunctionType.SERVER: ("nginx", COMMAND),
}


def default_engine(type_: FunctionType) -> str:
    """Return the engine of a function whose author names none."""
    return ENGINES[type_][0]

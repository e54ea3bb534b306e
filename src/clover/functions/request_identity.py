"""Whose request it was, and which trace it belongs to: what an engine saw in the headers of a request, vetted."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

SIDECAR = "127.0.0.6"
"""Where requests come from that a function got from its own sidecar; functions append it to X-Forwarded-For."""
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII | re.DOTALL)


class TraceContext(NamedTuple):
    """What a `traceparent` names."""

    trace_id: str
    span_id: str


def trace_context(traceparent: str) -> TraceContext | None:
    """Return what a `traceparent` names; None when it is not one by the W3C's rules."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, more = match.groups()
    # A version that is not known yet may go on after what is known; version 00 does not.
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id)


def address(text: str) -> str:
    """Return an IP address as everybody writes it; '' when it is none."""
    try:
        parsed = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return ""
        parsed = parsed.ipv4_mapped or parsed
    return str(parsed)


def client(forwarded_for: str, *, copied: bool = False) -> str:
    """
    Return who sent the request to the gateway: the last address in X-Forwarded-For that is no sidecar's.

    What stands in front of it came with the request and is not looked at: '' when that last one is no address. The
    proxy that sends a copy of a request appends its own address, which says nothing of the client.
    """
    entries = forwarded_for.split(",")
    for entry in reversed(entries[:-1] if copied else entries):
        if entry.strip() != SIDECAR:
            return address(entry)
    return ""

"""The line that every engine writes for every request, as a value.

Engines differ in what they write where there is nothing to say (nginx: empty text; HAProxy: `-`); here both are ''.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_NOTHING = ("-", "-:-", "-:0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One request, as the engine that answered it saw it."""

    time: float
    """Unix time in seconds at which the answer was complete."""
    traceparent: str
    """As received, whatever it is."""
    request_id: str
    client: str
    """Address of who sent the request to the gateway; of the peer, where no gateway names that one."""
    method: str
    host: str
    path: str
    """With the query, as received."""
    protocol: str
    status: int
    """As sent to the client; 0 or -1 when the client left first."""
    bytes: int
    """Sent to the client, headers included."""
    duration_ms: float
    upstream: str
    """Address of the next hop; several, with commas, when one was passed over; '' when none was asked."""
    upstream_status: str
    """Status of the next hop, in the same order."""
    cache: str | None = None
    """HIT, MISS ...; '' when the cache was not asked; None: not a cache."""
    generation: int | None = None
    """Number of the configuration that the request was answered by; None: the line does not say."""


def parse_access(line: bytes | str) -> Access | None:
    """Return the request that a line of an engine's output tells of; None when it is any other line."""
    text = line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line
    if not text.startswith('{"log":"access"'):
        return None
    try:
        fields: dict[str, Any] = json.loads(text)
        return Access(
            time=float(fields["time"]),
            traceparent=_text(fields["traceparent"]),
            request_id=_text(fields["request_id"]),
            client=_text(fields["client"]),
            method=_text(fields["method"]),
            host=_text(fields["host"]),
            path=_text(fields["path"]),
            protocol=_text(fields["protocol"]),
            status=int(fields["status"]),
            bytes=int(fields["bytes"]),
            duration_ms=float(fields["duration_ms"]),
            upstream=_text(fields["upstream"]),
            upstream_status=_text(fields["upstream_status"]),
            cache=fields.get("cache"),
            generation=int(fields["generation"]) if "generation" in fields else None,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return "" if value in _NOTHING else value

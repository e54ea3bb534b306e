"""
What the way out of a chain could not reach, beside the records of the proxies that tried.

A proxy that leaves the chain talks to a Unix socket, and sees no more of a failure than a connection that ends. Why it
ended is a record of the way out, found again by that socket and by the time. A proxy does not record the socket of a
tunnel that was refused: that failure is found by the wildcard that its name is below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clover.telemetry.query.answers import Answers

LOG = "way-out"
"""What `log` says in the records of the way out."""
SOCKET, WORDS = "socket", "way_out"
"""Their attribute that names a way, and the one that access records get here: what the way out said."""
_TUNNEL = "tunnel_response:"
"""How Envoy's words begin when what it asks to carry TLS to a name does not do so."""
_SLACK_NS = 1_000_000_000
"""How long after it happened a failure may be recorded."""
_LIMIT = 10_000
_Record = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One connection that the way out could not make."""

    time_unix_nano: int
    socket: str
    words: str
    """`api.example.com:443: ...`."""


async def with_failures(store: Answers, records: Sequence[tuple[int, _Record]]) -> list[_Record]:
    """Return access records, given with when they began, each with what the way out said of it, if it did."""
    began = [time for time, record in records if _way(record) or _names(record)]
    if not began:
        return [record for _, record in records]
    longest = max(_duration_ns(record) for _, record in records)
    rows = await store.query(
        """
        SELECT toUnixTimestamp64Nano(Timestamp) AS time, LogAttributes['socket'] AS socket, Body AS words
        FROM otel_logs
        WHERE Log = {log:String}
            AND Timestamp BETWEEN fromUnixTimestamp64Nano({since:Int64}) AND fromUnixTimestamp64Nano({until:Int64})
        ORDER BY Timestamp DESC LIMIT {limit:UInt64}""",
        {"log": LOG, "since": min(began), "until": max(began) + longest + _SLACK_NS, "limit": _LIMIT},
    )
    return joined(records, [_failure(row) for row in rows])


def joined(records: Iterable[tuple[int, _Record]], failures: Sequence[Failure]) -> list[_Record]:
    """Return each record with the last failure of its way while it lasted."""
    found: list[_Record] = []
    for began, record in records:
        ended = began + _duration_ns(record) + _SLACK_NS
        fitting = (one for one in failures if _is_of(one, record) and began <= one.time_unix_nano <= ended)
        last = max(fitting, key=lambda one: one.time_unix_nano, default=None)
        found.append({**record, WORDS: last.words} if last else record)
    return found


def _failure(row: Mapping[str, Any]) -> Failure:
    return Failure(time_unix_nano=int(row["time"]), socket=row["socket"], words=row["words"])


def _is_of(failure: Failure, record: _Record) -> bool:
    if names := _names(record):
        return failure.words.partition(":")[0].endswith(names)
    return failure.socket == _way(record)


def _names(record: _Record) -> str:
    """Return how the names end of which one was asked for by a tunnel that was refused; '' for anything else."""
    refused = record.get("upstream_failure", "").startswith(_TUNNEL)
    host = record.get("upstream_cluster", "").rpartition("|")[2]
    return host[1:] if refused and host.startswith("*") else ""


def _way(record: _Record) -> str:
    """Return the socket that a request or connection left the chain by; '' when it did not."""
    host = record.get("upstream_host", "")
    return host if host.startswith("/") else ""


def _duration_ns(record: _Record) -> int:
    text = record.get("duration_ms", "")
    return int(text) * 1_000_000 if text.isascii() and text.isdigit() else 0

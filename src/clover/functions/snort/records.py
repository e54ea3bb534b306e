"""Snort's records (alert_json: one JSON object a line), and the alerts that they amount to.

A record names addresses and the rule, and nothing of HTTP; but it can show the data that Snort had before it. For a
rule that looks at the heads of requests these are the header lines, with or without the request line: trace and client
are in there. For any other rule they may be a part of a body, and a body can be written to look like a head: a client
could have another one blocked. So nothing is taken from those.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clover.functions import request_identity
from clover.functions.alerts import Alert, Join
from clover.functions.ids_responder import original_host
from clover.functions.snort.rules import SAW_HEAD

FIELDS = "seconds timestamp pkt_num gid sid rev priority src_ap dst_ap dir msg b64_data"
"""What Snort is told to write. The first is always there: Snort begins a record that lacks its first with a comma."""
MOST_RECORD_BYTES = 1024 * 1024
_MESSAGE, _URL, _HOST, _METHOD = 500, 4096, 300, 40
"""Characters of each that are passed on."""
_REQUEST_LINE = re.compile(rb"([!-~]{1,40}) ([!-~\x80-\xff]+) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_FRACTION = re.compile(r"\.(\d{6})$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the head of a request tells."""

    method: str = ""
    """'' when the request line is not there."""
    url: str = ""
    host: str = ""
    trace: request_identity.TraceContext | None = None
    client: str = ""


class Reader:
    """Makes an alert of each record by itself: nothing else is to come."""

    def read(self, line: bytes, *, now: float) -> Iterable[Alert]:
        """Take one record, and return its alert; nonsense gives none."""
        if len(line) > MOST_RECORD_BYTES:
            return ()
        try:
            record = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return ()
        if not isinstance(record, dict) or (rule_id := _number(record, "sid")) is None:
            return ()
        head = head_from(_data(record)) if record.get("rev") == SAW_HEAD and record.get("dir") != "S2C" else Head()
        return (
            Alert(
                id=_id(record),
                time=_time(record, now),
                rule_id=rule_id,
                message=_text(record, "msg", _MESSAGE),
                severity=_number(record, "priority") or 3,
                client=head.client,
                trace_id=head.trace.trace_id if head.trace else "",
                span_id=head.trace.span_id if head.trace else "",
                join=Join.TRACE_ID if head.trace else Join.NONE,
                method=head.method,
                host=head.host,
                url=head.url,
            ),
        )

    def overdue(self, *, now: float) -> Iterable[Alert]:
        """Return nothing: no alert waits."""
        del now
        return ()


def head_from(data: bytes) -> Head:
    """Return what header lines tell, with or without a request line in front of them; of anything else: nothing."""
    first, *lines = data.split(b"\n")
    request = _REQUEST_LINE.fullmatch(first.removesuffix(b"\r"))
    named: dict[bytes, list[str]] = {b"traceparent": [], b"x-forwarded-for": [], b"host": []}
    for line in lines if request else (first, *lines):
        if not (content := line.removesuffix(b"\r")):
            break
        header = _HEADER.fullmatch(content)
        if header is None:
            return Head()
        if (values := named.get(header[1].lower())) is not None:
            values.append(header[2].decode("utf-8", "replace"))
    traces, hosts = named[b"traceparent"], named[b"host"]
    host = hosts[0] if len(hosts) == 1 else ""
    return Head(
        method=request[1].decode()[:_METHOD] if request else "",
        url=request[2].decode("utf-8", "replace")[:_URL] if request else "",
        host=original_host(host)[:_HOST],
        # Two of them would be none by the standard.
        trace=request_identity.trace_context(traces[0]) if len(traces) == 1 else None,
        client=request_identity.client(
            ",".join(named[b"x-forwarded-for"]), copied=any(one != original_host(one) for one in hosts)
        ),
    )


def _data(record: dict[str, Any]) -> bytes:
    value = record.get("b64_data")
    if not isinstance(value, str):
        return b""
    try:
        return base64.b64decode(value)
    except ValueError:
        return b""


def _id(record: dict[str, Any]) -> str:
    names = [record.get(name) for name in ("seconds", "timestamp", "pkt_num", "src_ap", "dst_ap", "gid", "sid", "rev")]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]


def _time(record: dict[str, Any], now: float) -> float:
    """Return the second, and the fraction that only the other form of the time has."""
    seconds = _number(record, "seconds")
    if seconds is None:
        return now
    timestamp = record.get("timestamp")
    fraction = _FRACTION.search(timestamp) if isinstance(timestamp, str) else None
    return seconds + (int(fraction[1]) / 1e6 if fraction else 0.0)


def _number(record: dict[str, Any], name: str) -> int | None:
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _text(record: dict[str, Any], name: str, most: int) -> str:
    """Return a text that can be encoded: JSON may hold halves of characters."""
    value = record.get(name)
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""

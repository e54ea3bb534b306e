"""Suricata's records (EVE: one JSON object a line), and the alerts that they amount to.

An alert of HTTP/1 does not show the headers of its request. The record of the request does, and comes a little earlier
or later; both name the same flow and transaction. So an alert waits until that record is there, or until it is overdue.
What is in a record came with a request, so it can be anything: what is not as expected is left out, never raised.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from clover.functions import request_identity
from clover.functions.alerts import Alert, Join
from clover.functions.ids_responder import SHADOW, original_host
from clover.functions.request_identity import TraceContext

WAIT_S = 2.0
"""How long an alert waits for the record of its request."""
REMEMBER_S = 2 * WAIT_S
"""How long the record of a request is remembered: it can be older than the alert."""
MOST_RECORD_BYTES = 1024 * 1024
MOST_WAITING = 10_000
"""So many alerts wait; when more would, the oldest do not wait any longer."""
MOST_REQUESTS = 20_000
"""So many requests are remembered."""
MOST_COMPARED = 100
"""So many requests of one flow are compared for an alert that does not say which of them it is about."""
_MESSAGE, _URL, _HOST, _METHOD = 500, 4096, 300, 40
"""Characters of each that are passed on."""
MOST_UNREAD_BYTES = 2048
"""A record that is longer is read at once instead of being kept as it is."""
CUT_BYTES = 2047
"""So much of a header stands among `request_headers`; the fields `hostname` and `xff` are whole."""

_ALERT, _HTTP = b'"event_type":"alert"', b'"event_type":"http"'
# A quotation mark within a text has a backslash in front of it, so none of these can stand in one.
_FLOW, _TRANSACTION = re.compile(rb'"flow_id":(\d{1,19}),'), re.compile(rb'"tx_id":(\d{1,19}),')


class _Place(NamedTuple):
    flow: int
    transaction: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What the record of a request adds to an alert about it."""

    identity: TraceContext | None = None
    client: str = ""
    method: str = ""
    host: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    alert: Alert
    since: float
    flow: int
    transaction: int | None
    """None: the engine does not say."""
    guessed: bool
    """The engine only believes so."""


@dataclass(slots=True, kw_only=True)
class Reader:
    """Joins alerts to requests."""

    _waiting: OrderedDict[int, _Waiting] = field(default_factory=OrderedDict)
    """By a running number, so that the oldest is the first."""
    _awaited: dict[_Place, list[int]] = field(default_factory=dict)
    _requests: OrderedDict[_Place, tuple[float, bytes | _Request]] = field(default_factory=OrderedDict)
    """Few requests raise an alert, so most records are never read."""
    _flows: dict[int, OrderedDict[int, None]] = field(default_factory=dict)
    """The transactions of each flow that are remembered."""
    _number: int = 0

    def read(self, line: bytes, *, now: float) -> Iterable[Alert]:
        """Take one record, and return the alerts that are whole now; nonsense gives none."""
        if len(line) > MOST_RECORD_BYTES:
            return ()
        if _ALERT in line:
            return tuple(self._read_alert(_parsed(line), now))
        if _HTTP in line:
            return tuple(self._read_request(line, now))
        return ()

    def overdue(self, *, now: float) -> Iterable[Alert]:
        """Return the alerts whose request did not come within two seconds, joined as well as can be."""
        alerts = tuple(self._given_up(now))
        self._forget(now)
        return alerts

    def _read_alert(self, record: dict[str, Any], now: float) -> Iterator[Alert]:
        alert = _alert_from(record, now)
        if alert is None:
            return
        flow, transaction = _number(record, "flow_id"), _number(record, "tx_id")
        if alert.join is Join.TRACE_ID or flow is None:
            yield alert
            return
        guessed = record.get("tx_guessed") is True
        if transaction is not None and (place := _Place(flow, transaction)) in self._requests:
            yield _joined(alert, self._known(place), guessed=guessed)
            return
        self._number += 1
        self._waiting[self._number] = _Waiting(
            alert=alert, since=now, flow=flow, transaction=transaction, guessed=guessed
        )
        if transaction is not None:
            self._awaited.setdefault(_Place(flow, transaction), []).append(self._number)
        while len(self._waiting) > MOST_WAITING:
            yield self._as_well_as_can_be(next(iter(self._waiting)))

    def _read_request(self, line: bytes, now: float) -> Iterator[Alert]:
        flow, transaction = _FLOW.search(line), _TRANSACTION.search(line)
        if flow is None or transaction is None:
            return
        place = _Place(int(flow[1]), int(transaction[1]))
        self._requests[place] = (now, line if len(line) <= MOST_UNREAD_BYTES else _request_from(_parsed(line)))
        self._requests.move_to_end(place)
        self._flows.setdefault(place.flow, OrderedDict())[place.transaction] = None
        self._forget(now)
        for number in self._awaited.pop(place, ()):
            waiting = self._waiting.pop(number)
            yield _joined(waiting.alert, self._known(place), guessed=waiting.guessed)

    def _known(self, place: _Place) -> _Request:
        since, request = self._requests[place]
        if isinstance(request, bytes):
            request = _request_from(_parsed(request))
            self._requests[place] = (since, request)
        return request

    def _forget(self, now: float) -> None:
        """Drop the requests that are too old or too many; a clock that went back makes all of them too old."""
        while self._requests:
            place, (since, _) = next(iter(self._requests.items()))
            if len(self._requests) <= MOST_REQUESTS and 0 <= now - since <= REMEMBER_S:
                return
            del self._requests[place]
            of_flow = self._flows[place.flow]
            del of_flow[place.transaction]
            if not of_flow:
                del self._flows[place.flow]

    def _given_up(self, now: float) -> Iterator[Alert]:
        while self._waiting:
            number, waiting = next(iter(self._waiting.items()))
            if 0 <= now - waiting.since < WAIT_S:
                return
            yield self._as_well_as_can_be(number)

    def _as_well_as_can_be(self, number: int) -> Alert:
        """Let an alert wait no longer, and join it to what is known of its flow."""
        waiting = self._waiting.pop(number)
        if waiting.transaction is not None:
            place = _Place(waiting.flow, waiting.transaction)
            if others := [other for other in self._awaited.pop(place, ()) if other != number]:
                self._awaited[place] = others
            return waiting.alert
        transactions = self._flows.get(waiting.flow, ())
        if not 1 <= len(transactions) <= MOST_COMPARED:
            return waiting.alert
        requests = [self._known(_Place(waiting.flow, transaction)) for transaction in transactions]
        if len(requests) == 1:
            return _joined(waiting.alert, requests[0], guessed=True)
        # One connection carries the requests of many clients. Only what is true of all of them is true of this one.
        clients = {request.client for request in requests}
        return replace(waiting.alert, client=clients.pop()) if len(clients) == 1 else waiting.alert


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _alert_from(record: dict[str, Any], now: float) -> Alert | None:
    raised = _object(record, "alert")
    rule_id = _number(raised, "signature_id")
    if rule_id is None:
        return None
    request = _request_from(record)
    identity = request.identity or _captured(record)
    # Without a transaction, the engine takes some request of the connection for the one that it has seen.
    told = _number(record, "tx_id") is not None
    return Alert(
        id=_id(record, raised),
        time=_time(record, now),
        rule_id=rule_id,
        message=_text(raised, "signature", _MESSAGE),
        severity=_number(raised, "severity") or 3,
        client=request.client if told else "",
        trace_id=identity.trace_id if identity else "",
        span_id=identity.span_id if identity else "",
        join=Join.TRACE_ID if identity else Join.NONE,
        method=request.method,
        host=request.host,
        url=request.url,
    )


def _request_from(record: dict[str, Any]) -> _Request:
    http = _object(record, "http")
    named = _headers(http)
    # As long as it came: what says that this is a copy, and who sent it, stands at the end. A client chooses where a
    # header is cut, and so would choose who is at the end of what is left of it.
    name, port = _text(http, "hostname", MOST_RECORD_BYTES), _number(http, "http_port")
    written = named["host"][0] if len(named["host"]) == 1 else f"{name}:{port}" if name and port is not None else name
    host = original_host(written)
    whole = [value for value in named["x-forwarded-for"] if len(value.encode()) < CUT_BYTES]
    forwarded_for = _text(http, "xff", MOST_RECORD_BYTES) or ",".join(whole)
    return _Request(
        # Two of them would be none by the standard.
        identity=request_identity.trace_context(named["traceparent"][0]) if len(named["traceparent"]) == 1 else None,
        client=request_identity.client(forwarded_for, copied=written != host or name.endswith(SHADOW)),
        method=_text(http, "http_method", _METHOD),
        host=host[:_HOST],
        url=_text(http, "url", _URL),
    )


def _headers(http: dict[str, Any]) -> dict[str, list[str]]:
    """Return the values of the headers that matter, each as often as it came."""
    headers = http.get("request_headers")
    named: dict[str, list[str]] = {"host": [], "traceparent": [], "x-forwarded-for": []}
    for header in headers if isinstance(headers, list) else ():
        if isinstance(header, dict) and isinstance(name := header.get("name"), str):
            values = named.get(name.lower())
            if values is not None and (value := _text(header, "value", MOST_RECORD_BYTES)):
                values.append(value)
    return named


def _joined(alert: Alert, request: _Request, *, guessed: bool) -> Alert:
    if request.identity is None:
        join = Join.NONE
    elif guessed:
        join = Join.ADDRESS_TIME
    else:
        join = Join.FLOW_TRANSACTION
    return replace(
        alert,
        join=join,
        trace_id=request.identity.trace_id if request.identity else "",
        span_id=request.identity.span_id if request.identity else "",
        client=request.client or alert.client,
        method=alert.method or request.method,
        host=alert.host or request.host,
        url=alert.url or request.url,
    )


def _captured(record: dict[str, Any]) -> TraceContext | None:
    """Return what a rule has captured as the flow variable `traceparent`."""
    variables = _object(record, "metadata").get("flowvars")
    found = [
        variable["traceparent"]
        for variable in (variables if isinstance(variables, list) else ())
        if isinstance(variable, dict) and isinstance(variable.get("traceparent"), str)
    ]
    return request_identity.trace_context(found[0]) if len(found) == 1 else None


def _id(record: dict[str, Any], raised: dict[str, Any]) -> str:
    names = [record.get(name) for name in ("flow_id", "tx_id", "timestamp", "src_port", "dest_port")]
    rule = [raised.get(name) for name in ("gid", "signature_id", "rev")]
    return hashlib.sha256(json.dumps([*names, *rule]).encode()).hexdigest()[:32]


def _time(record: dict[str, Any], now: float) -> float:
    try:
        return datetime.fromisoformat(record["timestamp"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return now


def _object(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _number(record: dict[str, Any], name: str) -> int | None:
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64 else None


def _text(record: dict[str, Any], name: str, most: int) -> str:
    """Return a text that can be encoded: JSON may hold halves of characters."""
    value = record.get(name)
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""

"""What an intrusion detection engine found, and the contract of what reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from clover.functions.driver import Settings


class Join(StrEnum):
    """How sure it is which request an alert is about; the surest first."""

    TRACE_ID = "trace-id"
    """The alert itself carried the trace context."""
    FLOW_TRANSACTION = "flow-transaction"
    """From the headers of the request with the same flow and transaction."""
    ADDRESS_TIME = "address-time"
    """By addresses, ports and time."""
    NONE = "none"
    """Several requests fit, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert, joined to its request as well as could be."""

    id: str
    """The same whenever the same record is read again."""
    time: float
    """Unix time at which the engine raised it."""
    rule_id: int
    message: str
    severity: int
    """1 is the worst."""
    client: str = ""
    """Who sent the request to the gateway: the last address in X-Forwarded-For; '' when nothing told."""
    trace_id: str = ""
    span_id: str = ""
    join: Join = Join.NONE
    method: str = ""
    host: str = ""
    """As the client wrote it: without the suffix that the proxy adds to the Host of a mirrored request."""
    url: str = ""


class Reader(Protocol):
    """Makes alerts of an engine's records. Keeps what waits for its other half; does no I/O and reads no clock."""

    def read(self, line: bytes, *, now: float) -> Iterable[Alert]:
        """Take one record (a line without its end), and return the alerts that are whole now; nonsense gives none."""
        ...

    def overdue(self, *, now: float) -> Iterable[Alert]:
        """Return the alerts that have waited long enough for their other half (about 2 s), joined as well as can be."""
        ...


class AlertSource(Protocol):
    """What the driver of an intrusion detection engine is, too."""

    def alert_file(self, settings: Settings) -> str:
        """Return the absolute path of the file that the engine appends its records to, one a line."""
        ...

    def reader(self, settings: Settings) -> Reader:
        """Return a new reader."""
        ...

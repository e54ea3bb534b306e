"""What a proxy reports: its spans and access logs, in the intermediate form, below `ir`, which carries it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TagKind(StrEnum):
    """Where the value of a tag comes from."""

    LITERAL = "literal"
    ENVIRONMENT = "environment"
    HEADER = "header"
    FORMAT = "format"
    """Envoy's format of access logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A further attribute of every span."""

    name: str
    kind: TagKind
    value: str
    """The text itself, or the name of what is asked."""
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """What is reported about the requests of one side of a proxy."""

    sampled_percent: float = 100.0
    """Share of the traces that have spans; the same traces at every proxy with the same share."""
    spans: bool = True
    """False: the proxy makes no spans, and leaves the trace's headers alone."""
    tags: tuple[Tag, ...] = ()
    logs: bool = True
    log_condition: str = ""
    """CEL; requests for which it does not hold are not logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """What a proxy reports about what it sends, and about what it takes for its function."""

    sent: Reporting = Reporting()
    taken: Reporting = Reporting()


EVERYTHING = Reports()
"""Every request, everywhere."""

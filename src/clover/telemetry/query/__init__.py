"""Questions to the store: which traces there are, everything about one, how the services fare, and what happened."""

from clover.telemetry.query.events import (
    ALERTS,
    CHANGES,
    MESH,
    Kind,
    Window,
    changes_before,
    follow,
    recent,
    window_from,
)
from clover.telemetry.query.lost import lost
from clover.telemetry.query.rates import rates
from clover.telemetry.query.search import Filter, filter_from, find_traces
from clover.telemetry.query.traces import NoTraceError, trace

__all__ = [
    "ALERTS",
    "CHANGES",
    "MESH",
    "Filter",
    "Kind",
    "NoTraceError",
    "Window",
    "changes_before",
    "filter_from",
    "find_traces",
    "follow",
    "lost",
    "rates",
    "recent",
    "trace",
    "window_from",
]

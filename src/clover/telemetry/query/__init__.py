"""Questions to the store: which traces there are, everything about one, and how the services fare right now."""

from clover.telemetry.query.rates import rates
from clover.telemetry.query.search import Filter, filter_from, find_traces
from clover.telemetry.query.traces import NoTraceError, trace

__all__ = ["Filter", "NoTraceError", "filter_from", "find_traces", "rates", "trace"]

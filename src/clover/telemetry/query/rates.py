"""How the services fare right now.

Requests and errors are counted in the access logs, which leave no request out; durations are those of the spans,
because Envoy logs whole milliseconds only.
"""

from __future__ import annotations

from clover.telemetry.query.answers import Answers
from clover.telemetry.query.outcomes import NO_TLS
from clover.telemetry.records import Rate

CONTROL_PORT = 50054
"""Where ambassadors listen (`spec.chain.CONTROL_PORT`): calls to them are not what a function does."""
DELAY_S = 1.5
"""How late the records of a request may come: Envoy sends its access log once a second."""
# The first condition is there for the order of the table: it spares reading what is long past.
_WINDOW = """
    Timestamp >= now64(9) - toIntervalMillisecond({window_ms:UInt64} + {delay_ms:UInt64}) - toIntervalMinute(5)
    AND ended > now64(9) - toIntervalMillisecond({window_ms:UInt64} + {delay_ms:UInt64})
    AND ended <= now64(9) - toIntervalMillisecond({delay_ms:UInt64})"""
_TOLD_TWICE = f"""
    startsWith(LogAttributes['downstream_failure'], '{NO_TLS}') AND LogAttributes['filter_chain'] NOT IN ('', '-')
    AND LogAttributes['method'] IN ('', '-') AND LogAttributes['upstream_cluster'] IN ('', '-')"""
"""A listener's own record of a connection without TLS, which a filter chain took: its requests have their own."""
_COUNTS = f"""
    WITH Timestamp + toIntervalMicrosecond(toUInt64(DurationMs * 1000)) AS ended
    SELECT
        ServiceName AS service, ServiceVersion AS version, Workload AS workload, count() AS requests,
        countIf(HttpStatus >= 500 OR HttpStatus = 0) AS errors, quantiles(0.5, 0.99)(DurationMs) AS durations
    FROM otel_logs
    WHERE Log = 'envoy' AND Direction IN ('inbound', 'gateway') AND {_WINDOW}
        AND NOT startsWith(LogAttributes['upstream_cluster'], 'inbound|{CONTROL_PORT}|') AND NOT ({_TOLD_TWICE})
    GROUP BY service, version, workload ORDER BY service, version, workload"""  # noqa: S608
_DURATIONS = f"""
    WITH Timestamp + toIntervalNanosecond(Duration) AS ended
    SELECT
        ServiceName AS service, ServiceVersion AS version, Workload AS workload,
        quantiles(0.5, 0.99)(Duration / 1e6) AS durations
    FROM otel_traces
    WHERE SpanKind = 'Server' AND (startsWith(UpstreamCluster, 'inbound|') OR Workload = 'gateway') AND {_WINDOW}
        AND NOT startsWith(UpstreamCluster, 'inbound|{CONTROL_PORT}|')
    GROUP BY service, version, workload"""  # noqa: S608


async def rates(store: Answers, *, seconds: float = 10.0) -> list[Rate]:
    """
    Return what each version of a service did in the last seconds, the gateway included.

    A request counts when it ended. The seconds end `DELAY_S` ago, because of what came since not all is here.
    """
    window = {"window_ms": int(seconds * 1000), "delay_ms": int(DELAY_S * 1000)}
    counts = await store.query(_COUNTS, window)
    if not counts:
        return []
    durations = {
        (row["service"], row["version"], row["workload"]): row["durations"]
        for row in await store.query(_DURATIONS, window)
    }
    return [
        Rate(
            service=row["service"],
            version=row["version"],
            workload=row["workload"],
            rps=row["requests"] / seconds,
            error_rate=row["errors"] / row["requests"],
            p50_ms=round(p50, 3),
            p99_ms=round(p99, 3),
        )
        for row in counts
        for p50, p99 in [durations.get((row["service"], row["version"], row["workload"]), row["durations"])]
    ]

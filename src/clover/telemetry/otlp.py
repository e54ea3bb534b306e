"""Spans and log records of Clover's own as OTLP requests: pure, and without anybody's SDK."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clover.telemetry._proto import otlp_pb2

Attribute = str | bool | int | float

TRACES_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
"""gRPC method that takes an `ExportTraceServiceRequest`."""
LOGS_EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
"""gRPC method that takes an `ExportLogsServiceRequest`."""

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Kinds of spans."""
UNSET, OK, ERROR = 0, 1, 2
"""Statuses of spans."""
INFO, WARN = 9, 13
"""Severities of log records."""
_SEVERITIES = {INFO: "INFO", WARN: "WARN"}
_SCOPE = "clover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Another span that has to do with this one."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One timed step."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    parent_span_id: str = ""
    name: str
    kind: int = INTERNAL
    start_unix_nano: int
    end_unix_nano: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    status: int = UNSET
    status_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One thing that happened."""

    time_unix_nano: int
    event: str
    """Name of what kind of thing, e.g. `clover.change`."""
    body: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    trace_id: str = ""
    span_id: str = ""
    severity: int = INFO


def traces_request(resource: Mapping[str, str], spans: Iterable[Span]) -> bytes:
    """Return an `ExportTraceServiceRequest`; `resource` says who made the spans."""
    request = otlp_pb2.ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=otlp_pb2.Resource(attributes=_attributes(resource)))
    group.scope_spans.add(scope=otlp_pb2.Scope(name=_SCOPE), spans=map(_span, spans))
    return request.SerializeToString()


def logs_request(resource: Mapping[str, str], records: Iterable[LogRecord]) -> bytes:
    """Return an `ExportLogsServiceRequest`; `resource` says who made the records."""
    request = otlp_pb2.ExportLogsServiceRequest()
    group = request.resource_logs.add(resource=otlp_pb2.Resource(attributes=_attributes(resource)))
    group.scope_logs.add(scope=otlp_pb2.Scope(name=_SCOPE), log_records=map(_record, records))
    return request.SerializeToString()


def _span(span: Span) -> otlp_pb2.Span:
    return otlp_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_span_id),
        name=span.name,
        kind=span.kind,
        start_time_unix_nano=span.start_unix_nano,
        end_time_unix_nano=span.end_unix_nano,
        attributes=_attributes(span.attributes),
        links=(
            otlp_pb2.Link(trace_id=bytes.fromhex(link.trace_id), span_id=bytes.fromhex(link.span_id))
            for link in span.links
        ),
        status=otlp_pb2.Status(code=span.status, message=span.status_message),
    )


def _record(record: LogRecord) -> otlp_pb2.LogRecord:
    return otlp_pb2.LogRecord(
        time_unix_nano=record.time_unix_nano,
        observed_time_unix_nano=record.time_unix_nano,
        severity_number=record.severity,
        severity_text=_SEVERITIES[record.severity],
        body=otlp_pb2.Value(string_value=record.body),
        attributes=_attributes(record.attributes),
        flags=1 if record.trace_id else 0,
        trace_id=bytes.fromhex(record.trace_id),
        span_id=bytes.fromhex(record.span_id),
        event_name=record.event,
    )


def _attributes(values: Mapping[str, Attribute]) -> list[otlp_pb2.Attribute]:
    return [otlp_pb2.Attribute(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Attribute) -> otlp_pb2.Value:
    # A bool is an int to Python, and not to OTLP.
    if isinstance(value, bool):
        return otlp_pb2.Value(bool_value=value)
    if isinstance(value, int):
        return otlp_pb2.Value(int_value=value)
    if isinstance(value, float):
        return otlp_pb2.Value(double_value=value)
    return otlp_pb2.Value(string_value=value)

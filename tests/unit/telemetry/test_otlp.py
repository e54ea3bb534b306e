"""Clover's own spans and log records are OTLP: another reader of OTLP finds in the bytes what was put in."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clover.telemetry import otlp

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "1111111111111111"


def test_a_span_arrives_with_its_ids_times_attributes_link_and_status():
    span = otlp.Span(
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=PARENT,
        name="check",
        kind=otlp.SERVER,
        start_unix_nano=1_700_000_000_000_000_001,
        end_unix_nano=1_700_000_000_000_000_002,
        attributes={"clover.generation": 7, "ok": True, "ratio": 0.5, "engine": "nginx"},
        links=(otlp.Link(trace_id=TRACE, span_id=PARENT),),
        status=otlp.ERROR,
        status_message="refused",
    )

    request = ExportTraceServiceRequest.FromString(otlp.traces_request({"service.name": "http-lb"}, [span]))

    (resource,) = request.resource_spans
    assert resource.resource.attributes[0].value.string_value == "http-lb"
    (read,) = resource.instrumentation_library_spans[0].spans  # the older name of scope_spans
    assert (read.trace_id.hex(), read.span_id.hex(), read.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert read.end_time_unix_nano - read.start_time_unix_nano == 1
    values = {pair.key: pair.value for pair in read.attributes}
    assert values["clover.generation"].int_value == 7
    assert values["ok"].WhichOneof("value") == "bool_value"
    assert values["ratio"].double_value == 0.5
    assert read.links[0].span_id.hex() == PARENT
    assert (read.status.code, read.status.message) == (otlp.ERROR, "refused")


def test_a_log_record_arrives_with_its_body_and_its_place_in_a_trace():
    record = otlp.LogRecord(
        time_unix_nano=1_700_000_000_000_000_000,
        event="clover.change",
        body="http-lb@v2: generation 3 → 4",
        attributes={"log": "change"},
        trace_id=TRACE,
        span_id=SPAN,
        severity=otlp.WARN,
    )

    request = ExportLogsServiceRequest.FromString(otlp.logs_request({"service.name": "http-lb"}, [record]))

    (read,) = request.resource_logs[0].instrumentation_library_logs[0].logs
    assert read.body.string_value == "http-lb@v2: generation 3 → 4"
    assert (read.trace_id.hex(), read.span_id.hex(), read.severity_text) == (TRACE, SPAN, "WARN")

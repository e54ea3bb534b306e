"""OTLP requests to send to a store, as Envoy and others make them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MS = 1_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
KINDS = {"Internal": 1, "Server": 2, "Client": 3}


def put(pairs: Any, values: Mapping[str, Any]) -> None:
    """Add attributes; a Python value of each type becomes OTLP's value of that type."""
    for key, value in values.items():
        pair = pairs.add(key=key)
        if isinstance(value, bool):
            pair.value.bool_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        elif isinstance(value, bytes):
            pair.value.bytes_value = value
        elif isinstance(value, list):
            for item in value:
                put(_Single(pair.value.array_value.values), {"": item})
        elif isinstance(value, dict):
            put(pair.value.kvlist_value.values, value)
        elif value is not None:
            pair.value.string_value = value


class _Single:
    """Gives list items the shape of pairs."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def add(self, key: str) -> Any:
        item = self._values.add()
        return type("Pair", (), {"value": item})


def resource(service: str, version: str = "v1", workload: str = "") -> dict[str, str]:
    return {"service.name": service, "service.version": version, "clover.workload": workload or service}


def span(
    span_id: str,
    parent: str = "",
    *,
    service: str = "http-lb",
    trace: str = TRACE,
    kind: str = "Server",
    name: str = "GET /",
    start_ns: int | None = None,
    ms: float = 10.0,
    status: int = 0,
    **attributes: Any,
) -> tuple[str, dict[str, Any]]:
    """Return a span and the service that it belongs to; attribute names have `__` for a dot."""
    start = time.time_ns() - 5000 * MS if start_ns is None else start_ns
    return service, {
        "trace_id": bytes.fromhex(trace),
        "span_id": bytes.fromhex(span_id),
        "parent_span_id": bytes.fromhex(parent),
        "kind": KINDS[kind],
        "name": name,
        "start_time_unix_nano": start,
        "end_time_unix_nano": start + int(ms * MS),
        "status": status,
        "attributes": {key.replace("__", "."): value for key, value in attributes.items()},
    }


def traces(*spans: tuple[str, dict[str, Any]]) -> bytes:
    """Return an export request with one resource for each span."""
    request = ExportTraceServiceRequest()
    for service, fields in spans:
        group = request.resource_spans.add()
        put(group.resource.attributes, resource(service))
        scope = group.instrumentation_library_spans.add()
        scope.instrumentation_library.name = "envoy"
        plain = {key: value for key, value in fields.items() if key not in ("status", "attributes")}
        message = scope.spans.add(**plain)
        message.status.code = fields["status"]
        put(message.attributes, fields["attributes"])
    return request.SerializeToString()


def logs(*records: Mapping[str, Any]) -> bytes:
    """Return an export request of log records: `service`, `body`, `trace`, `span`, `time_ns` and attributes."""
    request = ExportLogsServiceRequest()
    for record in records:
        values = dict(record)
        group = request.resource_logs.add()
        put(group.resource.attributes, resource(values.pop("service", "http-lb")))
        message = group.instrumentation_library_logs.add().logs.add(
            time_unix_nano=values.pop("time_ns", time.time_ns()),
            trace_id=bytes.fromhex(values.pop("trace", TRACE)),
            span_id=bytes.fromhex(values.pop("span", "")),
        )
        message.body.string_value = values.pop("body", "")
        put(message.attributes, values)
    return request.SerializeToString()


def envoy_span(
    span_id: str, parent: str, *, service: str, cluster: str, kind: str = "Server", **more: Any
) -> tuple[str, dict[str, Any]]:
    """Return a span with the attributes that Envoy gives to every span."""
    attributes = {
        "component": "proxy",
        "upstream_cluster.name": cluster,
        "http.status_code": "200",
        "response_flags": "-",
        "http.url": f"http://gateway/{span_id}",
        "guid:x-request-id": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    }
    made, fields = span(span_id, parent, service=service, kind=kind, **more)
    fields["attributes"] = attributes | fields["attributes"]
    return made, fields


def many(count: int, *, seed: int = 0, per_trace: int = 10, around_ns: int | None = None) -> Iterable[bytes]:
    """Yield export requests of 250 spans: `count` spans that look like Envoy's, in traces of `per_trace`."""
    now = time.time_ns() if around_ns is None else around_ns
    batch: list[tuple[str, dict[str, Any]]] = []
    for number in range(count):
        trace = (seed << 64) + number // per_trace + 1
        place = number % per_trace
        batch.append(
            envoy_span(
                f"{(seed << 40) + number + 1:016x}",
                f"{(seed << 40) + number:016x}" if place else "",
                service=f"service-{place // 2}",
                cluster="outbound|9180||next" if place % 2 else "inbound|9180||",
                kind="Client" if place % 2 else "Server",
                trace=f"{trace:032x}",
                start_ns=now - (number // per_trace) * MS,
                ms=20 - place,
            )
        )
        if len(batch) == 250:
            yield traces(*batch)
            batch = []
    if batch:
        yield traces(*batch)

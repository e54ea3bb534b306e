"""
An OTLP receiver that keeps what it gets, for tests of what proxies report.

The protobuf classes at hand call scopes by their first name, instrumentation libraries; the bytes are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A span or a log record, flat."""

    name: str
    """Of a span; of a log record, its body."""
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    resource: dict[str, str]
    attributes: dict[str, str]


@dataclass(slots=True)
class Received:
    """Everything that came."""

    spans: list[Record] = field(default_factory=list)
    logs: list[Record] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, enough: Callable[[Received], bool]) -> None:
        """Wait until `enough` holds."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: enough(self))

    async def export_spans(self, request, _context):
        for group in request.resource_spans:
            for scope in group.instrumentation_library_spans:
                self.spans += [_span(group.resource, span) for span in scope.spans]
        async with self._news:
            self._news.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    async def export_logs(self, request, _context):
        for group in request.resource_logs:
            for scope in group.instrumentation_library_logs:
                self.logs += [_log(group.resource, record) for record in scope.logs]
        async with self._news:
            self._news.notify_all()
        return logs_service_pb2.ExportLogsServiceResponse()


def _flat(values) -> dict[str, str]:
    return {one.key: one.value.string_value for one in values}


def _span(resource, span) -> Record:
    return Record(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        resource=_flat(resource.attributes),
        attributes=_flat(span.attributes),
    )


def _log(resource, record) -> Record:
    return Record(
        name=record.body.string_value,
        kind=0,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        parent_id="",
        resource=_flat(resource.attributes),
        attributes=_flat(record.attributes),
    )


@contextlib.asynccontextmanager
async def receiving(path: Path) -> AsyncIterator[Received]:
    """Receive on a Unix socket for as long as the block runs."""
    received = Received()
    server = grpc.aio.server()
    for service, handler, request, response in (
        (
            "opentelemetry.proto.collector.trace.v1.TraceService",
            received.export_spans,
            trace_service_pb2.ExportTraceServiceRequest,
            trace_service_pb2.ExportTraceServiceResponse,
        ),
        (
            "opentelemetry.proto.collector.logs.v1.LogsService",
            received.export_logs,
            logs_service_pb2.ExportLogsServiceRequest,
            logs_service_pb2.ExportLogsServiceResponse,
        ),
    ):
        method = grpc.unary_unary_rpc_method_handler(
            handler, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield received
    finally:
        await server.stop(grace=None)

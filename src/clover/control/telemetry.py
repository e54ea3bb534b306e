"""Spans and log records of the control plane's own processes, sent to the chain's receiver by OTLP.

Nothing here waits for the receiver. What is to be sent stands in a queue with an end; while nobody takes it, the oldest
goes, and is counted. Nothing is started before `sending`: the processes that use this are copies of one that has
imported it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clover.control.handlers import AttributeValue
from clover.control.settings import AmbassadorSettings
from clover.telemetry import otlp

MOST_WAITING = 2048
"""So many spans, and so many records, wait for a receiver that does not take them."""
BATCH = 512
GATHER_S = 0.02
"""Parts of one change end within a few ms: they are sent together."""
EXPORT_S = 5.0
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 5.0
FLUSH_S = 1.0
"""What is left at the end is sent within this time, or dropped."""
_KINDS = {SpanKind.SERVER: otlp.SERVER, SpanKind.CLIENT: otlp.CLIENT}
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_Encode = Callable[[Mapping[str, str], Iterable[Any]], bytes]
T = TypeVar("T")


def resource_of(settings: AmbassadorSettings) -> dict[str, str]:
    """Return the OpenTelemetry resource of an ambassador: that of its function's sidecar and engine."""
    return {
        "service.name": settings.function,
        "service.version": settings.version,
        "service.namespace": settings.chain,
        "service.instance.id": settings.workload,
        "clover.workload": settings.workload,
    }


def attributes_of(settings: AmbassadorSettings) -> dict[str, AttributeValue]:
    """Return what each log record of an ambassador says of whose it is."""
    return {
        "clover.function": settings.function,
        "clover.version": settings.version,
        "clover.workload": settings.workload,
    }


def context_from(metadata: Mapping[str, str]) -> Context:
    """Return the trace context that came with a call; an empty one when none came, or nonsense did."""
    return TraceContextTextMapPropagator().extract(metadata, Context())


class _Queue(Generic[T]):
    """What waits to be sent, with an end: the oldest goes first, or goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[T] = deque()
        self.filled = asyncio.Event()
        self.dropped = 0

    def put(self, item: T) -> None:
        """Add something new."""
        if len(self._items) >= self._most:
            self._items.popleft()
            self.dropped += 1
        self._items.append(item)
        self.filled.set()

    def take(self, most: int) -> list[T]:
        """Return the oldest."""
        taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        if not self._items:
            self.filled.clear()
        return taken

    def put_back(self, items: list[T]) -> None:
        """Let what was taken wait again, as far as there is still room for it."""
        room = max(self._most - len(self._items), 0)
        kept = items[max(len(items) - room, 0) :]
        self.dropped += len(items) - len(kept)
        self._items.extendleft(reversed(kept))
        if self._items:
            self.filled.set()


class _Into(SpanProcessor):  # type: ignore[misc]  # its package says nothing of its types
    """Puts each span that has ended into the queue."""

    def __init__(self, queue: _Queue[otlp.Span]) -> None:
        self._queue = queue

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it, as the receiver reads it."""
        own = span.get_span_context()
        if own is None or not own.trace_flags.sampled:
            return
        self._queue.put(
            otlp.Span(
                trace_id=f"{own.trace_id:032x}",
                span_id=f"{own.span_id:016x}",
                parent_span_id=f"{span.parent.span_id:016x}" if span.parent else "",
                name=span.name,
                kind=_KINDS.get(span.kind, otlp.INTERNAL),
                start_unix_nano=span.start_time or 0,
                end_unix_nano=span.end_time or 0,
                attributes={
                    key: value for key, value in (span.attributes or {}).items() if not isinstance(value, tuple)
                },
                status=span.status.status_code.value,
                status_message=span.status.description or "",
            )
        )


class OtlpTelemetry:
    """What a process tells of itself. Never blocks, never raises: what cannot be delivered is dropped."""

    def __init__(
        self, *, resource: Mapping[str, str], attributes: Mapping[str, AttributeValue], most_waiting: int = MOST_WAITING
    ) -> None:
        self._resource = dict(resource)
        self._attributes = dict(attributes)
        self._closing = False
        self._spans: _Queue[otlp.Span] = _Queue(most_waiting)
        self._records: _Queue[otlp.LogRecord] = _Queue(most_waiting)
        # Everything is said here, because the SDK would look the rest up in the environment.
        provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource(self._resource),
            shutdown_on_exit=False,
            id_generator=RandomIdGenerator(),
            span_limits=SpanLimits(max_attributes=64, max_events=0, max_links=8),
        )
        provider.add_span_processor(_Into(self._spans))
        self._tracer = provider.get_tracer("clover")

    @property
    def dropped(self) -> int:
        """How many spans and records were dropped until now."""
        return self._spans.dropped + self._records.dropped

    def emit(
        self,
        event: str,
        body: str,
        attributes: Mapping[str, AttributeValue],
        *,
        context: Context | None = None,
        trace: tuple[str, str] | None = None,
    ) -> None:
        """Emit a log record; see `handlers.Telemetry`."""
        trace_id, span_id = trace if trace is not None else _ids(context)
        self._records.put(
            otlp.LogRecord(
                time_unix_nano=time.time_ns(),
                event=event,
                body=body,
                attributes={**self._attributes, **attributes},
                trace_id=trace_id,
                span_id=span_id,
            )
        )

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        *,
        context: Context | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[Context]:
        """Make a span for as long as the block runs; see `handlers.Telemetry`."""
        outside = Context() if context is None else context
        span = self._tracer.start_span(name, outside, kind=kind, attributes=attributes)
        try:
            yield trace.set_span_in_context(span, outside)
        except Exception as failure:
            span.set_status(trace.Status(trace.StatusCode.ERROR, str(failure)[:1000]))
            raise
        finally:
            span.end()

    async def send(self, socket: str) -> None:
        """Send what there is to the receiver behind a Unix socket, until `close`."""
        async with (
            grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL) as channel,
            asyncio.TaskGroup() as tasks,
        ):
            for queue, method, encode in (
                (self._spans, otlp.TRACES_EXPORT, otlp.traces_request),
                (self._records, otlp.LOGS_EXPORT, otlp.logs_request),
            ):
                tasks.create_task(self._send_all(channel, queue, method, encode), name=f"send to {method}")

    def close(self) -> None:
        """Let `send` end when what there is has been sent, or cannot be."""
        self._closing = True
        for queue in (self._spans, self._records):
            queue.filled.set()

    async def _send_all(self, channel: grpc.aio.Channel, queue: _Queue[Any], method: str, encode: _Encode) -> None:
        pause_s, told = FIRST_PAUSE_S, 0
        while True:
            await queue.filled.wait()
            if not self._closing:
                await asyncio.sleep(GATHER_S)
            batch = queue.take(BATCH)
            if not batch:
                return
            batch = self._encodable(batch, queue, encode)
            try:
                await _export(channel, method, encode(self._resource, batch))
                pause_s = FIRST_PAUSE_S
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in _AGAIN:
                    queue.dropped += len(batch)
                    print(f"telemetry: {len(batch)} were refused: {failure.details()}", flush=True)
                elif self._closing:
                    return
                else:
                    queue.put_back(batch)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, MOST_PAUSE_S)
            if queue.dropped > told and pause_s == FIRST_PAUSE_S:
                print(f"telemetry: {queue.dropped - told} were dropped while nobody took them", flush=True)
                told = queue.dropped

    def _encodable(self, batch: list[T], queue: _Queue[T], encode: _Encode) -> list[T]:
        """Return what OTLP can say: one bad string must not take others with it, or end the process."""
        try:
            encode(self._resource, batch)
        except (ValueError, TypeError):
            if len(batch) > 1:
                return [good for one in batch for good in self._encodable([one], queue, encode)]
            queue.dropped += 1
            return []
        return batch


@contextlib.asynccontextmanager
async def sending(
    socket: str, *, resource: Mapping[str, str], attributes: Mapping[str, AttributeValue]
) -> AsyncIterator[OtlpTelemetry]:
    """Tell the receiver behind `socket` of this process for as long as the block runs."""
    telemetry = OtlpTelemetry(resource=resource, attributes=attributes)
    async with asyncio.TaskGroup() as tasks:
        sender = tasks.create_task(telemetry.send(socket), name="telemetry")
        try:
            yield telemetry
        finally:
            telemetry.close()
            await asyncio.wait((sender,), timeout=FLUSH_S)
            sender.cancel()


async def _export(channel: grpc.aio.Channel, method: str, request: bytes) -> None:
    call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
    await call(request, timeout=EXPORT_S)


def _ids(context: Context | None) -> tuple[str, str]:
    span = trace.get_current_span(context).get_span_context() if context is not None else None
    return (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span is not None and span.is_valid else ("", "")

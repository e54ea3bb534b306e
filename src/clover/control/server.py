"""The ambassador's gRPC server: handlers behind the methods of `clover.control.v1`, health, and reflection.

Each call is a span. What a handler raises becomes a status with details that programs read: BadRequest names the fields
that are wrong, PreconditionFailure what is in the way, ErrorInfo the problem's code. What nobody expected becomes
INTERNAL, and its traceback stays here.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from clover.control import telemetry as context_of
from clover.control.change_record import cut
from clover.control.handlers import Call, CallError, Code, Handlers, Telemetry, call_error
from clover.control.methods import METHODS, SERVICE, Method
from clover.errors import HostError, Problem

MESSAGE_BYTES = 4 << 20
"""The largest message that is read; a larger one is refused with RESOURCE_EXHAUSTED."""
CALL_S = 30.0
"""How long a call may take that does not stream; a client may want less."""
MOST_CALLS, MOST_STREAMS = 64, 24
"""So many calls at once, and so many of them that stream answers: watching keeps nobody from changing."""
GRACE_S = 1.0
"""How long calls may go on when the ambassador is to stop; a change goes on to its end in any case."""
MOST_MESSAGE_BYTES, MOST_DETAILS_BYTES = 1200, 3600
"""A status travels in header fields, and clients read 8 KiB of those."""
DOMAIN = "clover"

_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", 4 * MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 2 * MOST_CALLS),
    # Connections that nobody closed properly are found out; a proxy may ping as it likes.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
)
_FOR = {
    "forwarding": "functions that forward requests (firewalls, load balancers and caches)",
    "cache": "caches",
    "ids": "intrusion detection systems",
    "firewall": "firewalls",
    "server": "servers",
}
_WHOSE = {
    "ListBackends": "forwarding",
    "SetBackendState": "forwarding",
    "PurgeCache": "cache",
    "AddRule": "ids",
    "RemoveRule": "ids",
    "ListRules": "ids",
    "StreamAlerts": "ids",
    "Block": "firewall",
    "Unblock": "firewall",
    "ListBlocks": "firewall",
    "ReportAlerts": "firewall",
    "UploadFile": "server",
    "DeleteFile": "server",
    "ListFiles": "server",
}


@contextlib.asynccontextmanager
async def serving(
    address: str, handlers: Handlers, *, function: str, type_: str, engine: str, telemetry: Telemetry
) -> AsyncIterator[int]:
    """
    Answer calls at `address` (`0.0.0.0:50054`; port 0: any); the value of the block is the port.

    Raises HostError if nothing can listen there.
    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
    front = _Front(handlers, function=function, type_=type_, engine=engine, telemetry=telemetry)
    server.add_generic_rpc_handlers((front.generic_handler(),))
    checks = cast(Any, health).aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    for name in ("", SERVICE):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as failure:
        raise HostError(
            Problem(code="CLV3319", where=address, what=f"the ambassador of {function!r} cannot listen: {failure}")
        ) from failure
    await server.start()
    try:
        yield port
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(grace=GRACE_S)


class _Front:
    """What stands between gRPC and the handlers."""

    def __init__(self, handlers: Handlers, *, function: str, type_: str, engine: str, telemetry: Telemetry) -> None:
        self._handlers = handlers
        self._function = function
        self._type = type_
        self._engine = engine
        self._telemetry = telemetry
        self._streams = 0

    def generic_handler(self) -> Any:
        """Return all methods of the service, as gRPC wants them."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {method.name: self._method_handler(method) for method in METHODS.values()}
        )

    def _method_handler(self, method: Method) -> Any:
        # Without a deserialiser the bytes come here, where a malformed message becomes a status that says so.
        if method.streams_requests:
            return grpc.stream_unary_rpc_method_handler(self._unary(method), response_serializer=_bytes)
        if method.streams_answers:
            return grpc.unary_stream_rpc_method_handler(self._stream(method), response_serializer=_bytes)
        return grpc.unary_unary_rpc_method_handler(self._unary(method), response_serializer=_bytes)

    def _unary(self, method: Method) -> Callable[[Any, Any], Awaitable[Message]]:
        async def answer(received: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            failure = None
            with self._call(method, context) as call:
                try:
                    async with asyncio.timeout(CALL_S):
                        request = _messages(received, method) if method.streams_requests else _message(received, method)
                        return cast(Message, await self._handler(method)(request, call))
                except Exception as raised:  # noqa: BLE001 - whatever it is, the client gets a status
                    failure = self._failure(raised, method)
                    _mark(call, failure)
            raise await _abort(context, failure)

        return answer

    def _stream(self, method: Method) -> Callable[[Any, Any], AsyncIterator[Message]]:
        async def answer(received: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
            failure = None
            self._streams += 1
            try:
                with self._call(method, context) as call:
                    try:
                        self._refuse_crowd()
                        answers = cast(AsyncIterator[Message], self._handler(method)(_message(received, method), call))
                        async with contextlib.aclosing(cast(Any, answers)):
                            async for message in answers:
                                yield message
                    except Exception as raised:  # noqa: BLE001 - whatever it is, the client gets a status
                        failure = self._failure(raised, method)
                        _mark(call, failure)
            finally:
                self._streams -= 1
            if failure is not None:
                await _abort(context, failure)

        return answer

    @contextlib.contextmanager
    def _call(self, method: Method, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[Call]:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        attributes = {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": method.name}
        outside = context_of.context_from(metadata)
        name = f"{SERVICE}/{method.name}"
        with self._telemetry.span(name, context=outside, attributes=attributes, kind=SpanKind.SERVER) as inside:
            yield Call(method=method.name, context=inside)

    def _handler(self, method: Method) -> Callable[[Any, Call], Any]:
        handler = self._handlers.get(method.name)
        if handler is not None:
            return handler
        whose = _FOR.get(_WHOSE.get(method.name, ""), "other functions")
        what = f"{method.name} is for {whose}; {self._function!r} is a {self._type} ({self._engine})"
        raise call_error(Code.UNIMPLEMENTED, "CLV3311", what, where=SERVICE)

    def _refuse_crowd(self) -> None:
        if self._streams > MOST_STREAMS:
            what = f"{MOST_STREAMS} others watch {self._function!r} already"
            raise call_error(Code.RESOURCE_EXHAUSTED, "CLV3312", what, where=SERVICE, hint="end one of them")

    def _failure(self, raised: Exception, method: Method) -> CallError:
        """Return what to tell the client."""
        if isinstance(raised, CallError):
            return raised
        if isinstance(raised, TimeoutError):
            what = f"{method.name} did not end within {CALL_S:g} s; a change that has begun goes on to its end"
            hint = "ask for the state before trying again"
            return call_error(Code.DEADLINE_EXCEEDED, "CLV3313", what, where=SERVICE, hint=hint)
        traceback.print_exception(raised)
        what = f"{method.name} failed because of a mistake in Clover: {type(raised).__name__}"
        hint = "the ambassador's log has more: clover logs"
        return call_error(Code.INTERNAL, "CLV3318", what, where=SERVICE, hint=hint)


def status_from(failure: CallError) -> status_pb2.Status:
    """Return the whole status of a call that failed, with so many details as fit into its header field."""
    first = failure.problems[0]
    message = cut("; ".join(dict.fromkeys(one.what for one in failure.problems)), most_bytes=MOST_MESSAGE_BYTES)
    status = status_pb2.Status(code=grpc.StatusCode[failure.code.name].value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=first.code, domain=DOMAIN, metadata=dict(failure.metadata))
    info.metadata["where"] = first.where[:200]
    # What is wrong with a field ends with its own hint.
    if first.hint and not failure.violations:
        info.metadata["hint"] = first.hint[:400]
    _add(status, info)
    bad = error_details_pb2.BadRequest()
    for violation in failure.violations:
        text = cut(violation.what, most_bytes=400)
        bad.field_violations.add(field=violation.field[:200], description=text, reason=first.code)
        if status.ByteSize() + bad.ByteSize() > MOST_DETAILS_BYTES:
            bad.field_violations.pop()
            break
    if failure.violations:
        _add(status, bad)
    unmet = error_details_pb2.PreconditionFailure()
    for type_, sentence in failure.preconditions.items():
        text = cut(sentence, most_bytes=400) if sentence else message
        unmet.violations.add(type=type_, subject=first.where[:200], description=text)
    if failure.preconditions and status.ByteSize() + unmet.ByteSize() <= MOST_DETAILS_BYTES:
        _add(status, unmet)
    return status


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], failure: CallError) -> AssertionError:
    """End the call; never returns."""
    status = status_from(failure)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(grpc.StatusCode[failure.code.name], status.message, trailing_metadata=details)
    return AssertionError("a call goes on after its end")


def _mark(call: Call, failure: CallError) -> None:
    span = trace.get_current_span(call.context)
    span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[failure.code.name].value[0])
    span.set_status(trace.Status(trace.StatusCode.ERROR, str(failure)[:1000]))


def _message(received: bytes, method: Method) -> Message:
    try:
        return method.request.FromString(received)
    except DecodeError as failure:
        what = f"the request is no {method.request.DESCRIPTOR.full_name}"
        raise call_error(Code.INVALID_ARGUMENT, "CLV3314", what, where=SERVICE) from failure


async def _messages(received: AsyncIterator[bytes], method: Method) -> AsyncIterator[Message]:
    async for one in received:
        yield _message(one, method)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()

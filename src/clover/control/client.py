"""Calls to ambassadors: by the name of the method, through the mesh, each one a span of a trace.

What goes wrong becomes problems that say which hop it was: the ambassador's own refusal, an ambassador that is not
there, or a mesh that has no way to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clover.control.handlers import Telemetry
from clover.control.methods import SERVICE, Method
from clover.errors import CloverError, FunctionError, MeshError, Problem

MESSAGE_BYTES = 16 << 20
READY_S = 2.0
"""So long a connection may take before the call is tried without it, to learn why there is none."""
_UNDECIDED = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Two clients of one process must not share a connection: the mesh chooses a version for each.
    ("grpc.use_local_subchannel_pool", 1),
)
_CODE = re.compile(r"CLV\d{4}")
_PROXY = re.compile(
    r"upstream connect error|no healthy upstream|upstream request timeout|cluster_not_found|reset reason"
)
"""How Envoy's own answers begin."""
_BROKEN_OFF = ("reset reason: connection termination", "reset reason: remote reset", "retried and the latest")
"""What Envoy says when the other end took the call, and went away; an earlier try may have been taken as well."""
_CUT_OFF = re.compile(r"Stream removed|RST_STREAM|GOAWAY|^Socket closed")
"""What gRPC says when the other end went away in the middle of its answer, under one status or another."""
_ROUTE_TIMEOUTS = ("upstream request timeout", "downstream duration timeout")
"""Envoy's words for the end of the time that a route rule gives a call."""
_DENIED_BY = {
    "PERMISSION_DENIED": ("an AuthorizationPolicy", "clover get authorizationpolicy"),
    "UNAUTHENTICATED": ("a RequestAuthentication", "clover get requestauthentication"),
}
"""What Envoy's denials of a call are in gRPC, and what they come from."""
_NAMELESS = re.compile(r"errors resolving|lookup failed|DNS|name resolution", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a call ended that did not succeed."""

    code: str
    """Name of the gRPC status."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a call brought."""

    message: Message
    trace_id: str
    """Of the call; '' when it is not traced."""


class CallFailedError(CloverError):
    """A call ended with a status other than OK."""

    def __init__(self, answer: Answer, exit_code: int, *problems: Problem) -> None:
        super().__init__(*problems)
        self.answer = answer
        self.trace_id = ""
        self.exit_code = exit_code  # type: ignore[misc]  # of this failure, not of the class


class Client:
    """
    Calls ambassadors; keeps one connection to each address that was called.

    Made inside a running event loop, and closed with it.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(channel.close(grace=None) for channel in channels.values()))

    async def call(
        self,
        address: str,
        method: Method,
        request: Message | Iterable[Message],
        *,
        timeout_s: float,
        context: Context | None = None,
    ) -> Answered:
        """
        Return the answer of the ambassador at `address` (`host:port`), within `timeout_s`.

        `request` is several messages for a method to which they are streamed. Raises CallFailedError.
        """
        with self._span(address, method, context) as inside:
            deadline = asyncio.get_running_loop().time() + timeout_s
            channel = await self._channel(address, timeout_s)
            left_s = max(deadline - asyncio.get_running_loop().time(), 0.001)
            calling = _stub(channel, method)(request, timeout=left_s, metadata=_metadata(inside))
            with _explained(address, method, inside, timeout_s):
                return Answered(message=await calling, trace_id=_trace_id(inside))

    async def stream(
        self, address: str, method: Method, request: Message, *, context: Context | None = None
    ) -> AsyncGenerator[Message, None]:
        """Yield the answers of a method that streams them, until it ends or the generator is closed."""
        with self._span(address, method, context) as inside:
            channel = await self._channel(address, READY_S)
            calling = _stub(channel, method)(request, metadata=_metadata(inside))
            try:
                with _explained(address, method, inside, 0.0):
                    async for answer in calling:
                        yield answer
            finally:
                calling.cancel()

    @contextlib.contextmanager
    def _span(self, address: str, method: Method, context: Context | None) -> Iterator[Context]:
        host, _, port = address.rpartition(":")
        attributes: Mapping[str, str | int] = {
            "rpc.system": "grpc",
            "rpc.service": SERVICE,
            "rpc.method": method.name,
            "server.address": host,
            "server.port": int(port),
        }
        name = f"{SERVICE}/{method.name}"
        with self._telemetry.span(name, context=context, attributes=attributes, kind=trace.SpanKind.CLIENT) as inside:
            yield inside

    async def _channel(self, address: str, timeout_s: float) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, READY_S)):
                while (state := channel.get_state(try_to_connect=True)) in _UNDECIDED:
                    await channel.wait_for_state_change(state)
        return channel


def _stub(channel: grpc.aio.Channel, method: Method) -> Any:
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
    }[method.streams_requests, method.streams_answers]
    return make(
        f"/{SERVICE}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=method.answer.FromString,
    )


def _trace_id(context: Context) -> str:
    about = trace.get_current_span(context).get_span_context()
    return f"{about.trace_id:032x}" if about.is_valid else ""


def _metadata(context: Context) -> tuple[tuple[str, str], ...]:
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context)
    return tuple(carrier.items())


@contextlib.contextmanager
def _explained(address: str, method: Method, context: Context, timeout_s: float) -> Iterator[None]:
    span = trace.get_current_span(context)
    try:
        yield
    except grpc.aio.AioRpcError as error:
        traced = _trace_id(context)
        failure = failure_from(error, address=address, method=method.name, timeout_s=timeout_s, trace_id=traced)
        failure.trace_id = traced
        span.set_attribute("rpc.grpc.status_code", error.code().value[0])
        span.set_status(trace.StatusCode.ERROR, failure.answer.message)
        raise failure from None
    else:
        span.set_attribute("rpc.grpc.status_code", 0)


def failure_from(
    error: grpc.aio.AioRpcError, *, address: str, method: str, timeout_s: float, trace_id: str = ""
) -> CallFailedError:
    """Return the problems of a call that failed: the ambassador's own, or those of the way to it."""
    answer = Answer(code=error.code().name, message=error.details() or "")
    where = f"{method} at {address}"
    if problems := _told(_status(error), where=where):
        return CallFailedError(answer, FunctionError.exit_code, *problems)
    problem = _denied(answer, address=address, where=where, trace_id=trace_id) or _of_the_way(
        answer, address=address, where=where, timeout_s=timeout_s
    )
    if problem is not None:
        return CallFailedError(answer, MeshError.exit_code, problem)
    text = answer.message or "no reason given"
    problem = Problem(code="CLV3330", where=where, what=f"the call ended with {answer.code}: {text}")
    return CallFailedError(answer, FunctionError.exit_code, problem)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    status = status_pb2.Status()
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == "grpc-status-details-bin":
            with contextlib.suppress(DecodeError):
                status.ParseFromString(value)
    return status


def _told(status: status_pb2.Status, *, where: str) -> tuple[Problem, ...]:
    """Return what an ambassador says in the details of its status; nothing when it said nothing there."""
    info, fields, conditions, hint = error_details_pb2.ErrorInfo(), [], [], ""
    for detail in status.details:
        with contextlib.suppress(DecodeError):
            bad = error_details_pb2.BadRequest()
            failed = error_details_pb2.PreconditionFailure()
            helped = error_details_pb2.Help()
            detail.Unpack(info)
            if detail.Unpack(bad):
                fields.extend(bad.field_violations)
            if detail.Unpack(failed):
                conditions.extend(failed.violations)
            if detail.Unpack(helped):
                hint = "; ".join(link.description for link in helped.links)
    if not status.details:
        return ()
    code = info.reason if _CODE.fullmatch(info.reason) else "CLV3330"
    place = info.metadata.get("where", "") or where
    hint = hint or info.metadata.get("hint", "")
    if fields:
        return tuple(
            Problem(
                code=field.reason if _CODE.fullmatch(field.reason) else code,
                where=field.field or place,
                what=field.description,
                hint=hint,
            )
            for field in fields
        )
    texts = dict.fromkeys((status.message, *(one.description for one in conditions)))
    return tuple(Problem(code=code, where=place, what=text, hint=hint) for text in texts if text)


def _denied(answer: Answer, *, address: str, where: str, trace_id: str) -> Problem | None:
    """Return which kind of policy denies a call; None when none does: ambassadors never answer so themselves."""
    if answer.code not in _DENIED_BY:
        return None
    host = address.rpartition(":")[0]
    kind, command = _DENIED_BY[answer.code]
    # Which policy it is, only the record of the sidecar that denied the call knows.
    return Problem(
        code="CLV4265",
        where=where,
        what=f"{kind} of {host!r} denies the call: {answer.message or answer.code}",
        hint=f"clover trace {trace_id} says which; {command} lists them" if trace_id else f"{command} lists them",
    )


def _of_the_way(answer: Answer, *, address: str, where: str, timeout_s: float) -> Problem | None:
    """Return what keeps a call from its ambassador; None when it got there."""
    host = address.rpartition(":")[0]
    if answer.code == "UNIMPLEMENTED" and answer.message in ("", "Received http2 header with status: 404"):
        # Envoy answers so where no route leads on; gRPC knows no better word for 404.
        what = f"the mesh has no route for calls to {address!r}"
        return Problem(
            code="CLV3333", where=where, what=what, hint="clover get virtualservice shows the routes in force"
        )
    if any(words in answer.message for words in _ROUTE_TIMEOUTS):
        what = f"a timeout of the mesh's route rules ended the call of {host!r}: whether it was done is not known"
        hint = "ask for the state before trying again; clover get virtualservice shows the routes in force"
        return Problem(code="CLV3334", where=where, what=what, hint=hint)
    if answer.code == "DEADLINE_EXCEEDED":
        after = f" within {timeout_s:g} s" if timeout_s else ""
        what = f"no answer{after}: whether it was done is not known"
        return Problem(code="CLV3334", where=where, what=what, hint="ask for the state before trying again")
    if _CUT_OFF.search(answer.message):
        what = f"the ambassador behind {address!r} went away while it answered: whether the call was done is not known"
        hint = "clover status says which workloads run; ask for the state before trying again"
        return Problem(code="CLV3334", where=where, what=what, hint=hint)
    if answer.code != "UNAVAILABLE":
        return None
    if _NAMELESS.search(answer.message):
        return Problem(code="CLV3333", where=where, what=f"the mesh has no name {host!r}: {answer.message}")
    if "no healthy upstream" in answer.message or "cluster_not_found" in answer.message:
        what = f"the mesh knows no instance behind {address!r}: {answer.message}"
        return Problem(code="CLV3333", where=where, what=what, hint="clover status says which workloads run")
    if "fault filter abort" in answer.message:
        what = f"a route rule of the mesh breaks off calls to {host!r} on purpose (fault)"
        return Problem(
            code="CLV3333", where=where, what=what, hint="clover get virtualservice shows the routes in force"
        )
    if any(words in answer.message for words in _BROKEN_OFF):
        what = f"the call of {host!r} was broken off: whether it was done is not known ({answer.message})"
        return Problem(code="CLV3334", where=where, what=what, hint="ask for the state before trying again")
    if _PROXY.search(answer.message):
        what = f"the mesh led to {host!r}, but no ambassador answers there: {answer.message}"
    else:
        what = f"nobody answers at {address!r}: {answer.message}"
    return Problem(code="CLV3332", where=where, what=what, hint="clover status says which workloads run")

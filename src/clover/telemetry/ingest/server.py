"""The OTLP gRPC receiver: Envoys and anybody else's exporters send spans and logs here.

Requests are never decoded: the handlers are registered without a deserialiser, and the bytes go to the store as they
came. The answer is sent when the store has them on disk, so what a sender was told is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from clover.errors import HostError, Problem
from clover.telemetry.store.frames import MalformedError
from clover.telemetry.store.store import RefusedError, Store

MESSAGE_BYTES = 16 << 20
"""The largest request that is read; a larger one is refused with RESOURCE_EXHAUSTED."""

_SERVICE = "opentelemetry.proto.collector.{0}.v1.{1}Service"
_SUCCESS = b""
"""An Export…ServiceResponse without a partial success: everything was taken."""


@contextlib.asynccontextmanager
async def serving_otlp(path: Path, store: Store, *, address: str | None = None) -> AsyncIterator[int | None]:
    """
    Receive OTLP on the Unix socket `path`, and on `address` (`127.0.0.1:4317`, port 0: any) when it is given.

    The value of the block is the TCP port, None without an address. Leaving it lets requests that wait for a commit
    finish.
    """
    server = aio.server(
        options=(
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            # A proxy without traffic pings; gRPC would hang up on the third, as on an attack.
            ("grpc.http2.max_ping_strikes", 0),
        ),
    )
    server.add_generic_rpc_handlers(
        (
            _handlers("trace", "Trace", store.insert_traces),
            _handlers("logs", "Logs", store.insert_logs),
        )
    )
    path.unlink(missing_ok=True)  # noqa: ASYNC240 (left by a process that was killed)
    port = None
    try:
        server.add_insecure_port(f"unix:{path}")
        if address is not None:
            port = server.add_insecure_port(address)
    except RuntimeError as failure:
        raise HostError(
            Problem(
                code="CLV6005",
                where=address or str(path),
                what=f"the OTLP receiver cannot listen on {address or str(path)!r}: {failure}",
                hint="stop what listens there, or choose another address",
            )
        ) from failure
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=2)
        path.unlink(missing_ok=True)  # noqa: ASYNC240


def _handlers(package: str, name: str, insert: Callable[[bytes], Awaitable[None]]) -> Any:
    async def export(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            await insert(request)
        except MalformedError as failure:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(failure))
        except RefusedError as failure:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(failure))
        return _SUCCESS

    return grpc.method_handlers_generic_handler(
        _SERVICE.format(package, name), {"Export": grpc.unary_unary_rpc_method_handler(export)}
    )

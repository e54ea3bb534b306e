"""
The control plane's network edge: aggregated delta xDS over gRPC on a Unix socket.

It moves messages between proxies and their `ads.Stream`s and knows who is connected; what to send, and when, is decided
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from clover.errors import MeshError, Problem
from clover.kit.memory import remembered_by_identity
from clover.mesh import ads
from clover.mesh.snapshot import Snapshot
from clover.mesh.xds.resource import LISTENER, SECRET, Resource

if TYPE_CHECKING:
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_PATIENCE_S = 1.0
"""How long a proxy may take to ask for what its clusters and listeners refer to, before the rest is sent anyway."""
_BUSY = 1.5
"""How much longer than it should a wait may take before this process was too busy to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """How far one proxy is."""

    node: str
    connected: bool
    version: str
    """Of the configuration that it should have."""
    acknowledged: bool
    """It has accepted all of that; or it did when it was last connected."""
    problems: tuple[Problem, ...]
    """What it refused."""
    types: Mapping[str, ads.TypeStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What became of one push."""

    generation: int
    accepted: tuple[str, ...]
    """Proxies that have all of it."""
    refused: tuple[str, ...]
    """Proxies that refused a part of it, and go on with the last good version of that part."""
    disconnected: tuple[str, ...]
    """Proxies that were not there; they get it when they come back."""
    pending: tuple[str, ...]
    """Proxies that have not answered in time."""
    problems: tuple[Problem, ...]
    elapsed_ms: float
    """Since the push."""


@dataclass(slots=True)
class _Connection:
    stream: ads.Stream
    outbox: asyncio.Queue[list[ads.Response]]


class Server:
    """Serves a snapshot to each proxy that asks for it by its node id."""

    def __init__(self, *, peers: Mapping[str, str] | None = None) -> None:
        """See `serving` for `peers`."""
        self._peers = peers
        self._snapshots: dict[str, Snapshot] = {}
        self._connections: dict[str, _Connection] = {}
        self._last: dict[str, ads.Stream] = {}
        """Node → its current stream, or the one that it had last."""
        self._generation = 0
        self._pushed_at = time.monotonic()
        self._news = asyncio.Event()

    def push(self, snapshots: Mapping[str, Snapshot]) -> int:
        """Take the snapshots of all proxies by node id, send each what changed; return the generation to wait for."""
        self._generation += 1
        self._pushed_at = time.monotonic()
        self._snapshots = dict(snapshots)
        for node, connection in self._connections.items():
            if node in snapshots:
                responses = connection.stream.update(snapshots[node])
                connection.outbox.put_nowait(responses)
        self._announce()
        return self._generation

    def status(self) -> Mapping[str, NodeStatus]:
        """Return how far each proxy is, the ones that never came included."""
        return {node: self._status(node, snapshot) for node, snapshot in self._snapshots.items()}

    def problems(self) -> tuple[Problem, ...]:
        """Return what proxies refuse; what several refuse for one reason is told once."""
        found: dict[tuple[str, str], Problem] = {}
        for node in self._snapshots:
            for problem in self._last[node].problems if node in self._last else ():
                found.setdefault((problem.where, problem.what.partition(" refused ")[2]), problem)
        return tuple(found.values())

    async def acknowledged(
        self, generation: int, *, timeout_s: float, nodes: Collection[str] | None = None
    ) -> Acknowledgement:
        """
        Wait until the proxies have accepted or refused all of push `generation` (or of a later one), and say which did.

        Those are waited for that are connected or have never been (they are starting), or else exactly `nodes`.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while late := self._awaited(nodes):
                    # One after the other, since a thousand proxies make thousands of pieces of news.
                    for node in late:
                        while self._is_awaited(node, nodes):
                            await self._news.wait()
        return self._acknowledgement(generation)

    def _status(self, node: str, snapshot: Snapshot) -> NodeStatus:
        stream = self._last.get(node)
        current = stream is not None and stream.snapshot is snapshot
        return NodeStatus(
            node=node,
            connected=node in self._connections,
            version=snapshot.version,
            acknowledged=current and stream is not None and stream.settled and not stream.problems,
            problems=stream.problems if stream is not None else (),
            types=stream.status if stream is not None else {},
        )

    def _awaited(self, named: Collection[str] | None) -> list[str]:
        return [node for node in (self._snapshots if named is None else named) if self._is_awaited(node, named)]

    def _is_awaited(self, node: str, named: Collection[str] | None) -> bool:
        """Tell whether the answer of a proxy is still to come; one that went away is waited for if it is named."""
        if node not in self._connections:
            return named is not None or node not in self._last
        return not self._connections[node].stream.settled

    def _acknowledgement(self, generation: int) -> Acknowledgement:
        accepted, refused, disconnected, pending = [], [], [], []
        problems: dict[Problem, None] = {}
        for node in self._snapshots:
            connection = self._connections.get(node)
            if connection is None:
                # What it refused before it went away says nothing about this push.
                disconnected.append(node)
                continue
            problems.update(dict.fromkeys(connection.stream.problems))
            if not connection.stream.settled:
                pending.append(node)
            elif connection.stream.problems:
                refused.append(node)
            else:
                accepted.append(node)
        return Acknowledgement(
            generation=generation,
            accepted=tuple(accepted),
            refused=tuple(refused),
            disconnected=tuple(disconnected),
            pending=tuple(pending),
            problems=tuple(problems),
            elapsed_ms=(time.monotonic() - self._pushed_at) * 1000,
        )

    def _announce(self) -> None:
        """Wake whoever waits for a change."""
        self._news.set()
        self._news = asyncio.Event()

    async def stream_deltas(
        self, requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], context: Context
    ) -> None:
        """Serve one proxy for as long as it stays connected."""
        first = await anext(aiter(requests), None)
        if first is None:
            return
        node = first.node.id
        if self._peers is not None and self._peers.get(context.peer()) != node:
            # Before anything else: what proxies there are is not for strangers either.
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"this connection is not that of the proxy {node!r}")
        if node not in self._snapshots:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"no proxy is called {node!r} in this chain; there are: {', '.join(sorted(self._snapshots))}",
            )
        stream = ads.Stream(self._snapshots[node])
        connection = _Connection(stream=stream, outbox=asyncio.Queue())
        # A proxy that comes back before its old stream is seen to end: the new stream is the proxy.
        self._connections[node] = connection
        self._last[node] = stream
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(connection, context), name=f"ads {node}")
                self._receive(connection, first)
                async for request in requests:
                    self._receive(connection, request)
                writer.cancel()
        finally:
            if self._connections.get(node) is connection:
                del self._connections[node]
            self._announce()

    def _receive(self, connection: _Connection, message: discovery_pb2.DeltaDiscoveryRequest) -> None:
        connection.outbox.put_nowait(connection.stream.receive(_request_from(message)))
        self._announce()

    async def _write(self, connection: _Connection, context: Context) -> None:
        """
        Send what the stream has to say, in its order.

        Patience doubles each time that it ends: a proxy that needs longer, because it has many neighbours or little of
        a processor, would only need longer still if it were sent more.
        """
        patience = _PATIENCE_S
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(patience if connection.stream.waiting else None):
                    responses = await connection.outbox.get()
            except TimeoutError:
                if time.monotonic() - began > _BUSY * patience:
                    continue  # It was us who took so long: what the proxy has said has not been read yet.
                patience *= 2
                responses = connection.stream.release()
                self._announce()
            if connection.stream.settled:
                patience = _PATIENCE_S
            for response in responses:
                await context.write(_message_from(response))


async def refuse_state_of_the_world(requests: object, context: Context) -> None:
    """Answer proxies that ask for whole states instead of differences."""
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "only delta xDS is served here: set api_type DELTA_GRPC in ads_config"
    )


def _request_from(message: discovery_pb2.DeltaDiscoveryRequest) -> ads.Request:
    return ads.Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        has=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=(message.error_detail.message or "no reason given") if message.HasField("error_detail") else "",
    )


def _message_from(response: ads.Response) -> bytes:
    """Return a response as it is sent: messages of one kind, one after the other, are one message (protobuf)."""
    head = discovery_pb2.DeltaDiscoveryResponse(
        type_url=response.type_url, nonce=response.nonce, removed_resources=response.removed
    )
    alone = _alone if response.type_url in _OF_ONE_PROXY else _alone_for_many
    return b"".join((head.SerializeToString(), *map(alone, response.resources)))


def _alone(resource: Resource) -> bytes:
    """Return a response with nothing but one resource."""
    message = discovery_pb2.DeltaDiscoveryResponse()
    message.resources.add(
        name=resource.name,
        version=resource.version,
        resource=any_pb2.Any(type_url=resource.type_url, value=resource.body),
    )
    body: bytes = message.SerializeToString()
    return body


_OF_ONE_PROXY = (LISTENER, SECRET)
_alone_for_many = remembered_by_identity(_alone)


@contextlib.asynccontextmanager
async def serving(path: Path | str, *, peers: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """
    Serve proxies on a Unix socket for as long as the block runs; entered once they can connect.

    `peers` says whose connection it is by the address that it comes from, as gRPC writes it; it may change at any time.
    Nobody gets what is for another. None: whoever may open the socket is believed.
    """
    socket = Path(path)
    socket.unlink(missing_ok=True)  # noqa: ASYNC240 -- one system call on a file of our own
    server = Server(peers=peers)
    # A proxy without news pings to find out whether anybody is there; gRPC takes more than two of that for an attack.
    transport = grpc.aio.server(options=(("grpc.http2.max_ping_strikes", 0),))
    transport.add_generic_rpc_handlers((_handlers(server),))
    try:
        transport.add_insecure_port(f"unix:{socket}")
    except RuntimeError as failure:
        raise MeshError(
            Problem(
                code="CLV4402",
                where=str(socket),
                what=f"the control plane's socket cannot be opened: {failure}",
                hint="a socket path may have 107 bytes; CLOVER_RUN chooses a shorter or writable folder",
            )
        ) from failure
    await transport.start()
    try:
        yield server
    finally:
        await transport.stop(grace=None)
        socket.unlink(missing_ok=True)  # noqa: ASYNC240


def _handlers(server: Server) -> grpc.GenericRpcHandler[Any, Any]:
    return grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                server.stream_deltas,
                request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
                response_serializer=None,  # written as bytes
            ),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                refuse_state_of_the_world,
                request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
                response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
            ),
        },
    )

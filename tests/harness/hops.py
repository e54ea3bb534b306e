"""Real Envoys in a row on loopback: a gateway, and sidecars whose listeners are bound to ports of their own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from clover.mesh import ir, server, snapshot
from clover.mesh.xds import compile
from clover.mesh.xds.resource import CLUSTER, LISTENER, resource
from clover.mesh.xds.settings import Settings
from harness import envoy, proxies
from harness.otlp import Received, receiving
from harness.ports import free_port
from harness.proxies import CACHE, GATEWAY, LB, SIDECAR, cluster_name, members


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One Envoy that takes traffic at a port of loopback."""

    port: int
    received: Received
    """What it reports."""
    proxy: envoy.Proxy
    control: server.Server
    node: str

    async def change(self, whole: snapshot.Snapshot) -> server.Acknowledgement:
        """Tell it something else."""
        generation = self.control.push({self.node: whole})
        return await self.control.acknowledged(generation, timeout_s=10)


@contextlib.asynccontextmanager
async def running(whole: snapshot.Snapshot, identity: ir.Identity, port: int) -> AsyncIterator[Hop]:
    """Run an Envoy that is told a snapshot."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        directory = Path(name)
        async with (
            receiving(directory / "otlp.sock") as received,
            server.serving(directory / "xds.sock") as control,
            envoy.envoy(directory, identity) as proxy,
        ):
            hop = Hop(port=port, received=received, proxy=proxy, control=control, node=identity.workload)
            result = await hop.change(whole)
            assert result.accepted == (identity.workload,), result
            yield hop


@contextlib.asynccontextmanager
async def gateway(
    *routes: ir.Route,
    to: int,
    protocol: ir.Protocol = ir.Protocol.HTTP,
    port: ir.GatewayPort | None = None,
    **settings: object,
) -> AsyncIterator[Hop]:
    """Run a gateway in front of the port `to`."""
    number = free_port()
    name = cluster_name(LB)
    proxy = proxies.gateway(
        *routes,
        port=number,
        clusters=(ir.Cluster(name=name, protocol=protocol),),
        endpoints=(members(name, "127.0.0.1", port=to),),
    )
    if port is not None:
        proxy = replace(proxy, gateways=(replace(port, port=number),), tables=proxy.tables if port.routes else ())
    whole = snapshot.snapshot_from(proxy, replace(compile.DEFAULTS, **settings))  # type: ignore[arg-type]
    async with running(whole, GATEWAY, number) as hop:
        yield hop


@contextlib.asynccontextmanager
async def outbound(
    protocol: ir.Protocol = ir.Protocol.AUTO,
    *,
    to: int,
    tcp: tuple[ir.TcpRoute, ...] = (),
    cluster: str | None = None,
    others: dict[str, int] | None = None,
    settings: Settings = compile.DEFAULTS,
) -> AsyncIterator[Hop]:
    """Run a sidecar whose one service listener is bound, so that no interception is needed to reach it."""
    number, main = free_port(), cluster_name(CACHE)
    backends = {main: to, **(others or {})}
    proxy = proxies.sidecar(protocol=protocol)
    dialled = replace(
        proxy.outbound[0], address="127.0.0.1", port=number, tcp=tcp, cluster=main if cluster is None else cluster
    )
    proxy = replace(
        proxy,
        outbound=(dialled,),
        inbound=(),
        clusters=tuple(ir.Cluster(name=name, protocol=protocol) for name in backends),
        endpoints=tuple(members(name, "127.0.0.1", port=port) for name, port in backends.items()),
    )
    whole = snapshot.snapshot_from(proxy, settings)
    name = f"127.0.0.1_{number}"
    message = envoy.message(whole.resources[LISTENER][name])
    message.bind_to_port.value = True
    bound = resource(name, message, requires=whole.resources[LISTENER][name].requires)
    # The virtual listeners would take fixed ports of this machine.
    whole = replace(whole, resources={**whole.resources, LISTENER: {name: bound}})
    async with running(whole, SIDECAR, number) as hop:
        yield hop


@contextlib.asynccontextmanager
async def inbound(
    protocol: ir.Protocol = ir.Protocol.AUTO,
    *,
    to: int,
    settings: Settings = compile.DEFAULTS,
    **more: object,
) -> AsyncIterator[Hop]:
    """Run a sidecar that takes traffic for a function at the port `to`."""
    number = free_port()
    port = ir.InboundPort(port=number, protocol=protocol, service=LB, **more)  # type: ignore[arg-type]
    whole = snapshot.snapshot_from(replace(proxies.sidecar(protocol=protocol), inbound=(port,)), settings)
    (name,) = (name for name in whole.resources[LISTENER] if name == "virtualInbound")
    message = envoy.message(whole.resources[LISTENER][name])
    message.address.socket_address.address, message.address.socket_address.port_value = "127.0.0.1", number
    # Nobody redirects here: the port that was dialled is the one that listens.
    for listener_filter in list(message.listener_filters):
        if "original_dst" in listener_filter.name:
            message.listener_filters.remove(listener_filter)
    clusters = dict(whole.resources[CLUSTER])
    for known in [name for name in clusters if name.startswith("inbound")]:
        clusters[known] = _at(clusters[known], to)
    bound = resource(name, message, requires=whole.resources[LISTENER][name].requires)
    whole = replace(whole, resources={**whole.resources, CLUSTER: clusters, LISTENER: {name: bound}})
    async with running(whole, SIDECAR, number) as hop:
        yield hop


def _at(one, port: int):
    """Return a cluster of the function's own, at a port of loopback in place of the one that was dialled."""
    message = envoy.message(one)
    message.type, message.lb_policy = message.STATIC, message.ROUND_ROBIN
    message.ClearField("original_dst_lb_config")
    message.ClearField("cleanup_interval")
    message.ClearField("upstream_bind_config")
    message.load_assignment.cluster_name = message.name
    member = message.load_assignment.endpoints.add().lb_endpoints.add()
    member.endpoint.address.socket_address.address = "127.0.0.1"
    member.endpoint.address.socket_address.port_value = port
    return resource(one.name, message)


@contextlib.asynccontextmanager
async def speaking(serve) -> AsyncIterator[int]:
    """Run a TCP server of `serve(reader, writer)`; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    running = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a port of loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def said(port: int, text: bytes, *, until: bytes = b"", timeout_s: float = 10) -> bytes:
    """Send bytes, and return what comes back up to `until`, or up to the end."""
    got = b""
    async with connected(port) as (reader, writer):
        writer.write(text)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (until and until in got) and (more := await reader.read(65536)):
                    got += more
    return got

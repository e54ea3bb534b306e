"""Two real sidecars with real certificates: a client's and a server's, one control plane, and what they report."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from clover.mesh import ir, server, snapshot
from clover.mesh.certificates import Authority, Svid
from clover.mesh.xds import inbound, listeners, secrets
from clover.mesh.xds.resource import LISTENER, resource
from clover.mesh.xds.settings import Settings
from harness import envoy, proxies
from harness.otlp import Received, receiving
from harness.ports import free_port

HOST = "cache.default.svc.cluster.local"
CLUSTER = f"outbound|9180||{HOST}"
CALLER = "spiffe://cluster.local/ns/default/sa/lb"
CALLED = "spiffe://cluster.local/ns/default/sa/cache"
MESH_TLS = ir.MeshTls(sni=f"outbound_.9180_._.{HOST}", principals=(CALLED,), detected=True)
"""What auto-mTLS makes of a service."""
BELIEVED = ir.Peers(domains=("cluster.local",), mode=ir.PeerMode.STRICT)
_SETTINGS = Settings(inbound_port=15006)


@dataclass(slots=True, kw_only=True)
class Pair:
    """A client's sidecar at `port`, which dials a server's sidecar at `inbound`, which dials `backend`."""

    control: server.Server
    client: envoy.Proxy
    server: envoy.Proxy
    received: Received
    backend: int
    stop_control: Callable[[], Awaitable[None]]
    socket: Path
    """Where the control plane listens, or may listen again."""
    limits: ir.Limits = field(default_factory=ir.Limits)
    """Of the client's connections to the server's sidecar."""
    port: int = field(default_factory=free_port)
    inbound: int = field(default_factory=free_port)
    authority: Authority = field(default_factory=lambda: Authority("cluster.local", now=time.time()))

    def svid(self, principal: str, *, lifetime_s: float = 3600.0) -> Svid:
        return self.authority.issue(principal, lifetime_s=lifetime_s, now=time.time())

    async def push(
        self,
        protocol: ir.Protocol = ir.Protocol.AUTO,
        *,
        mode: ir.PeerMode = ir.PeerMode.STRICT,
        tls: ir.MeshTls | ir.OriginTls | None = MESH_TLS,
        caller: Svid | None = None,
        called: Svid | None = None,
        callers_roots: bytes | None = None,
        dialled: ir.Protocol | None = None,
        mirrored: bool = False,
        guard: ir.Guard = ir.UNGUARDED,
    ) -> server.Acknowledgement:
        """Bring a configuration into force at both; `dialled` is what the client's side takes the port for."""
        route = proxies.route(proxies.forward(CLUSTER), mirrors=(ir.Mirror(cluster=CLUSTER),) if mirrored else ())
        generation = self.control.push(
            {
                "client": self._client(
                    dialled or protocol, route, tls, caller or self.svid(CALLER), callers_roots or self.authority.root
                ),
                "server": self._server(protocol, mode, called or self.svid(CALLED), guard),
            }
        )
        return await self.control.acknowledged(generation, timeout_s=10)

    def _client(
        self,
        protocol: ir.Protocol,
        route: ir.Route,
        tls: ir.MeshTls | ir.OriginTls | None,
        svid: Svid,
        roots: bytes,
    ) -> snapshot.Snapshot:
        http = protocol in (ir.Protocol.HTTP, ir.Protocol.HTTP2)
        table = "" if protocol is ir.Protocol.TCP else "table"
        outbound = ir.OutboundPort(
            service=HOST, address="127.0.0.1", port=self.port, protocol=protocol, routes=table,
            cluster="" if http else CLUSTER,
        )  # fmt: skip
        member = ir.Endpoint(address="127.0.0.1", port=self.inbound, workload="server", mtls=True)
        proxy = ir.Proxy(
            node="client",
            identity=_identity("lb", "client"),
            principal=svid.principal,
            outbound=(outbound,),
            tables=(proxies.table(route, name=table),) if table else (),
            clusters=(ir.Cluster(name=CLUSTER, protocol=protocol, tls=tls, limits=self.limits),),
            endpoints=(ir.Endpoints(cluster=CLUSTER, members=(member,)),),
        )
        return _only(proxy, listeners.outbound_name(outbound), self.port, svid, roots)

    def _server(
        self, protocol: ir.Protocol, mode: ir.PeerMode, svid: Svid, guard: ir.Guard = ir.UNGUARDED
    ) -> snapshot.Snapshot:
        port = ir.InboundPort(
            port=self.inbound, protocol=protocol, service=HOST, peers=mode, endpoint=f"127.0.0.1:{self.backend}"
        )
        proxy = ir.Proxy(
            node="server",
            identity=_identity("cache", "server"),
            principal=svid.principal,
            peers=BELIEVED,
            guard=guard,
            inbound=(port,),
        )
        return _only(proxy, inbound.NAME, self.inbound, svid, self.authority.root)


def _identity(function: str, workload: str) -> ir.Identity:
    return ir.Identity(chain="sdc", namespace="default", function=function, version="v1", workload=workload)


def _only(proxy: ir.Proxy, name: str, port: int, svid: Svid, roots: bytes) -> snapshot.Snapshot:
    """Return what a proxy is told with one listener, which binds a port: there is no interception to lead to it."""
    held = (
        secrets.key_pair(secrets.IDENTITY, svid.certificate, svid.private_key),
        secrets.roots(secrets.ROOTS, roots),
    )
    whole = snapshot.snapshot_from(proxy, _SETTINGS, secrets=held)
    compiled = whole.resources[LISTENER][name]
    message = envoy.message(compiled)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    message.ClearField("bind_to_port")
    bound = resource(name, message, requires=compiled.requires)
    return replace(whole, resources={**whole.resources, LISTENER: {name: bound}})


@contextlib.asynccontextmanager
async def pair(backend: int) -> AsyncIterator[Pair]:
    """Run both sidecars, which have been told nothing yet."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        directory = Path(name)
        for side in ("client", "server"):
            (directory / side).mkdir()
            for socket in ("xds.sock", "otlp.sock"):
                (directory / side / socket).symlink_to(directory / socket)
        async with (
            receiving(directory / "otlp.sock") as received,
            contextlib.AsyncExitStack() as controlling,
            envoy.envoy(directory / "client", _identity("lb", "client")) as client,
            envoy.envoy(directory / "server", _identity("cache", "server")) as called,
        ):
            yield Pair(
                control=await controlling.enter_async_context(server.serving(directory / "xds.sock")),
                client=client,
                server=called,
                received=received,
                backend=backend,
                stop_control=controlling.aclose,
                socket=directory / "xds.sock",
            )


async def say(port: int, text: bytes, *, until: bytes) -> bytes:
    """Send bytes over a connection of their own and return the answer, up to `until` or the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            writer.write(text)
            answer = b""
            while until not in answer and (more := await reader.read(4096)):
                answer += more
            return answer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def greeting(text: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a server that speaks first, and then says back what it hears; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(text)
            while heard := await reader.read(4096):
                writer.write(heard)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()

"""A real Envoy for tests: checking configuration without a control plane, and running with one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import json_format

from clover.mesh import ir
from clover.mesh.certificates import Authority
from clover.mesh.xds import bootstrap, secrets
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resource, Resources, packed

_MESSAGES = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
}
_NAMES = {CLUSTER: "clusters", ENDPOINTS: "endpoints", LISTENER: "listeners", ROUTES: "routes"}


def message(resource: Resource):
    """Read a compiled resource back."""
    return _MESSAGES[resource.type_url].FromString(resource.body)


def as_json(resources: Resources) -> str:
    """Show all resources of a proxy but its secrets as Envoy's documentation writes them."""
    shown = {
        _NAMES[type_url]: [
            json_format.MessageToDict(message(resource), preserving_proto_field_name=True)
            for _, resource in sorted(named.items())
        ]
        for type_url, named in resources.items()
        if type_url in _NAMES
    }
    return json.dumps(shown, indent=1, sort_keys=True) + "\n"


def static(resources: Resources) -> str:
    """Turn what a proxy would be sent into a bootstrap that says it all: endpoints and routes put inline."""
    result = bootstrap_pb2.Bootstrap()
    result.node.id = result.node.cluster = "static"
    telemetry = result.static_resources.clusters.add(name="clover-otlp", type=cluster_pb2.Cluster.STATIC)
    telemetry.connect_timeout.FromSeconds(1)
    result.static_resources.secrets.extend(
        secret_pb2.Secret.FromString(secret.body) for secret in secrets_for(resources)
    )
    for name, resource in sorted(resources[CLUSTER].items()):
        cluster = result.static_resources.clusters.add()
        cluster.CopyFrom(message(resource))
        for match in (cluster, *cluster.transport_socket_matches):
            _put_secrets_beside(match.transport_socket)
        if cluster.type == cluster_pb2.Cluster.EDS:
            cluster.ClearField("eds_cluster_config")
            cluster.type = cluster_pb2.Cluster.STATIC
            cluster.load_assignment.CopyFrom(message(resources[ENDPOINTS][name]))
    for _, resource in sorted(resources[LISTENER].items()):
        listener = message(resource)
        for chain in (*listener.filter_chains, listener.default_filter_chain):
            _put_secrets_beside(chain.transport_socket)
            for one in chain.filters:
                _put_routes_inline(one, resources[ROUTES])
        result.static_resources.listeners.append(listener)
    return json_format.MessageToJson(result, preserving_proto_field_name=True)


def secrets_for(resources: Resources) -> list[Resource]:
    """Return every secret that is needed: the one that is sent, or one like it."""
    needed = {
        name
        for named in resources.values()
        for resource in named.values()
        for type_url, name in resource.requires
        if type_url == SECRET
    }
    sent = resources.get(SECRET, {})
    return [sent[name] if name in sent else _some_secret(name) for name in sorted(needed)]


@cache
def _some_secret(name: str) -> Resource:
    now = time.time()
    authority = Authority("cluster.local", now=now)
    if name == secrets.ROOTS or name.startswith("file-root:") or name.endswith("-cacert"):
        return secrets.roots(name, authority.root)
    svid = authority.issue("spiffe://cluster.local/ns/default/sa/somebody", lifetime_s=3600, now=now)
    return secrets.key_pair(name, svid.certificate, svid.private_key)


def _put_secrets_beside(socket: base_pb2.TransportSocket) -> None:
    """Let a transport socket find its secrets among the static ones."""
    outer = ProxyProtocolUpstreamTransport()
    if socket.typed_config.Unpack(outer):
        _put_secrets_beside(outer.transport_socket)
        socket.typed_config.CopyFrom(packed(outer))
    for context in (tls_pb2.UpstreamTlsContext(), tls_pb2.DownstreamTlsContext()):
        if socket.typed_config.Unpack(context):
            common = context.common_tls_context
            for secret in common.tls_certificate_sds_secret_configs:
                secret.ClearField("sds_config")
            common.combined_validation_context.validation_context_sds_secret_config.ClearField("sds_config")
            if not common.combined_validation_context.validation_context_sds_secret_config.name:
                common.ClearField("combined_validation_context")
            socket.typed_config.CopyFrom(packed(context))


def _put_routes_inline(network_filter, tables: Mapping[str, Resource]) -> None:
    if network_filter.name != "envoy.filters.network.http_connection_manager":
        return
    manager = HttpConnectionManager.FromString(network_filter.typed_config.value)
    if manager.HasField("rds"):
        manager.route_config.CopyFrom(message(tables[manager.rds.route_config_name]))
        network_filter.typed_config.CopyFrom(packed(manager))


def validated(text: str, directory: Path) -> str:
    """Return what Envoy says against a bootstrap; '' if it accepts it."""
    path = directory / "static.json"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*bootstrap.argv(bootstrap.envoy_binary(), path, log_level="error"), "--mode", "validate"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def echo(self):
        """The request as the backend saw it."""
        return json.loads(self.body)


async def fetch(port: int, path: str = "/", *, host: str = "127.0.0.1", method: str = "GET", **headers: str) -> Answer:
    """Send one HTTP/1.1 request over a connection of its own; `x_user=1` is the header `x-user: 1`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    given = {"host": host, "connection": "close"} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    try:
        async with asyncio.timeout(30):
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
            top = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip()
            status, *lines = top.split("\r\n")
            found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(found.get("content-length", 0)))
    finally:
        writer.close()
        await writer.wait_closed()
    return Answer(status=int(status.split()[1]), headers=found, body=body)


@contextlib.asynccontextmanager
async def echoing(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a backend that answers with what it was asked; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                method, path, _ = line.split()
                seen = {name.lower(): value for name, _, value in (item.partition(": ") for item in rest)}
                await reader.readexactly(int(seen.get("content-length", 0)))
                body = json.dumps({"method": method, "path": path, "headers": seen}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nserver: backend\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running Envoy."""

    process: asyncio.subprocess.Process
    admin_socket: Path

    async def started(self) -> None:
        """Wait until it is up, whether it has found its control plane or not."""
        async with asyncio.timeout(30):
            while not self.admin_socket.exists():  # noqa: ASYNC110 -- it gives no other sign of life
                await asyncio.sleep(0.005)

    async def admin(self, path: str, *, method: str = "GET") -> str:
        """Ask its admin interface."""
        return await asyncio.to_thread(self._ask, path, method)

    def _ask(self, path: str, method: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.admin_socket))
            client = http.client.HTTPConnection("admin")
            client.sock = connection
            client.request(method, path)
            return client.getresponse().read().decode()

    async def stats(self, pattern: str) -> dict[str, int]:
        """Return the counters and gauges whose names match a regular expression."""
        lines = (await self.admin(f"/stats?filter={pattern}&type=Counters")).splitlines()
        lines += (await self.admin(f"/stats?filter={pattern}&type=Gauges")).splitlines()
        return {name: int(value) for name, _, value in (line.rpartition(": ") for line in lines)}

    def resident_kb(self) -> int:
        """Return its resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(text.split("VmRSS:")[1].split()[0])


@contextlib.asynccontextmanager
async def envoy(directory: Path, identity: ir.Identity, *, node: str | None = None) -> AsyncIterator[Proxy]:
    """Run an Envoy whose control plane is at `directory/xds.sock`; it need not be there yet."""
    path = directory / "envoy.json"
    admin = directory / "admin.sock"
    path.write_text(
        bootstrap.bootstrap(
            identity,
            node=node or identity.workload,
            xds_socket=str(directory / "xds.sock"),
            otlp_socket=str(directory / "otlp.sock"),
            admin_socket=str(admin),
            mark=0,
        ),
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        *bootstrap.argv(bootstrap.envoy_binary(), path, log_level="error"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Proxy(process=process, admin_socket=admin)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()

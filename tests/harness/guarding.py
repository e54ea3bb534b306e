"""One real sidecar in front of a server, obeying policies that went the whole way from their documents."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import grpc.aio
from envoy.service.auth.v3 import external_auth_pb2

from clover.errors import MeshError, errors_only
from clover.mesh import ir, server, snapshot
from clover.mesh.istio import validate
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.translate import proxies_from
from clover.mesh.xds import inbound
from clover.mesh.xds.resource import LISTENER, resource
from clover.spec.mesh_config import MeshConfig
from harness import envoy, policies
from harness.otlp import Received, Record, receiving
from harness.ports import free_port

PLAINTEXT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
"""
AUTHORIZER = "authorizer.default.svc.cluster.local"


@dataclass(slots=True, kw_only=True)
class Guarded:
    """A sidecar that listens at `port` and dials `backend`."""

    control: server.Server
    proxy: envoy.Proxy
    received: Received
    backend: int
    port: int = field(default_factory=free_port)

    async def obey(
        self, text: str = "", *, port_name: str = "http", asking: tuple[str, int, dict] | None = None
    ) -> None:
        """
        Bring policies into force; `port_name` says what the port speaks.

        `asking` is an authorizer for CUSTOM policies with the provider `mine`: `http` or `grpc`, its port, and more
        fields of the provider.
        """
        registry = self._registry(port_name, asking)
        found = policies.read(PLAINTEXT + text)
        assert errors_only(validate.check(registry, found)) == ()
        (proxy,) = (one for one in proxies_from(registry, found) if one.node == "app")
        told = replace(
            proxy,
            inbound=tuple(replace(one, endpoint=f"127.0.0.1:{self.backend}") for one in proxy.inbound),
            outbound=(),
            tables=(),
            clusters=tuple(replace(cluster, tls=None) for cluster in proxy.clusters),
        )
        generation = self.control.push({"app": _bound(told, self.port)})
        heard = await self.control.acknowledged(generation, timeout_s=10)
        assert heard.accepted == ("app",), heard

    def _registry(self, port_name: str, asking: tuple[str, int, dict] | None) -> Registry:
        labels = {"app": "app", "version": "v1"}
        app = Workload(name="app", service="app", namespace="default", address="127.0.0.1", labels=labels)
        own = Service(
            name="app", namespace="default", address="10.96.0.1", ports=(ServicePort(number=self.port, name=port_name),)
        )
        if asking is None:
            return Registry(chain="test", services=(own,), workloads=(app,))
        kind, port, more = asking
        where = Service(
            name="authorizer", namespace="default", address="10.96.0.2", ports=(ServicePort(number=port, name=kind),)
        )
        who = Workload(name="authorizer", service="authorizer", namespace="default", address="127.0.0.1")
        provider = {"name": "mine", f"envoyExtAuthz{kind.title()}": {"service": AUTHORIZER, "port": port, **more}}
        return Registry(
            chain="test",
            services=(own, where),
            workloads=(app, who),
            config=MeshConfig.model_validate({"extensionProviders": [provider]}),
        )

    async def fetch(self, path: str = "/", **more: str) -> envoy.Answer:
        return await envoy.fetch(self.port, path, **more)

    async def status(self, path: str = "/", **more: str) -> int:
        return (await self.fetch(path, **more)).status

    async def record(self, **wanted: str) -> Record:
        """Return the first access record with these attributes, once there is one."""

        def found() -> list[Record]:
            return [log for log in self.received.logs if wanted.items() <= log.attributes.items()]

        await self.received.until(lambda _: bool(found()))
        return found()[0]


def _bound(proxy: ir.Proxy, port: int) -> snapshot.Snapshot:
    """Return what a sidecar is told with its inbound listener alone, bound to a port: nothing is intercepted here."""
    whole = snapshot.snapshot_from(proxy)
    if problems := snapshot.check(whole):
        raise MeshError(*problems)
    compiled = whole.resources[LISTENER][inbound.NAME]
    message = envoy.message(compiled)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    bound = resource(inbound.NAME, message, requires=compiled.requires, sources=compiled.sources)
    return replace(whole, resources={**whole.resources, LISTENER: {inbound.NAME: bound}})


@contextlib.asynccontextmanager
async def guarded(backend: int) -> AsyncIterator[Guarded]:
    """Run a sidecar that has been told nothing yet."""
    identity = ir.Identity(chain="test", namespace="default", function="app", version="v1", workload="app")
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        directory = Path(name)
        async with (
            receiving(directory / "otlp.sock") as received,
            server.serving(directory / "xds.sock") as control,
            envoy.envoy(directory, identity) as proxy,
        ):
            yield Guarded(control=control, proxy=proxy, received=received, backend=backend)


Verdict = Callable[[dict[str, str]], tuple[int, dict[str, str]]]
"""Headers of the request that it is asked about, with `:path` and `:method` → status and headers of the answer."""


@contextlib.asynccontextmanager
async def authorizing_http(verdict: Verdict) -> AsyncIterator[int]:
    """Run an authorizer that is asked over HTTP; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
                method, path, _ = line.split()
                seen = {name.lower(): value for name, _, value in (item.partition(": ") for item in rest)}
                seen["body"] = (await reader.readexactly(int(seen.get("content-length", 0)))).decode()
                status, headers = verdict(seen | {":method": method, ":path": path})
                said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{said}content-length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@contextlib.asynccontextmanager
async def authorizing_grpc(
    verdict: Callable[[external_auth_pb2.CheckRequest], Awaitable[external_auth_pb2.CheckResponse]],
) -> AsyncIterator[int]:
    """Run an authorizer that speaks Envoy's gRPC protocol; yields its port."""

    async def check(request, _context):
        return await verdict(request)

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=external_auth_pb2.CheckRequest.FromString,
        response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
    )
    served = grpc.aio.server()
    served.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": handler}),)
    )
    port = served.add_insecure_port("127.0.0.1:0")
    await served.start()
    try:
        yield port
    finally:
        await served.stop(None)


def policy(name: str, rules: object, *, action: str = "ALLOW", dry_run: bool = False, **spec: object) -> str:
    """Return an AuthorizationPolicy for every workload of the namespace, as a document of YAML."""
    annotations = {"istio.io/dry-run": "true"} if dry_run else {}
    return (
        "---\n"
        + json.dumps(
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": name, "namespace": "default", "annotations": annotations},
                "spec": {"action": action, **({"rules": rules} if rules is not None else {}), **spec},
            }
        )
        + "\n"
    )


def to(**operation: list[str]) -> dict:
    return {"to": [{"operation": operation}]}


def by(**source: list[str]) -> dict:
    return {"from": [{"source": source}]}


def when(key: str, *values: str) -> dict:
    return {"when": [{"key": key, "values": list(values)}]}

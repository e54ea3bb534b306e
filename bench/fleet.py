"""
A thousand sidecars at one control plane: `python bench/fleet.py [--quick]`.

The control plane is a process of its own, with the controller and the server that a chain has, on a Unix socket. The
sidecars are simulated: delta xDS clients that ask for what Envoy asks for (all clusters and listeners, the endpoints
and route tables that these name, their certificate), acknowledge what they get, and do nothing with it. In the *open*
mesh every sidecar knows every service; in the *isolated* one a Sidecar shows each namespace of ten services itself
alone, as in Istio's own figures for large meshes. Measured: everybody's first configuration, when all come at once; one
VirtualService, from the call to the last acknowledgement; and a change that concerns nobody, which must send nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _report
import grpc.aio
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3 import discovery_pb2

from clover.kit import documents
from clover.mesh import server as xds
from clover.mesh.certificates import Authority
from clover.mesh.controller import Controller
from clover.mesh.istio import parse
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from clover.mesh.xds.settings import Settings

SERVICES, SIDECARS, CHANGES = 1000, 1000, 5
TOGETHER = 10
"""Services of a namespace of the isolated mesh."""
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
POLICY = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: s-7, namespace: ns-0}
spec:
  hosts: [s-7]
  http: [{timeout: %ds, route: [{destination: {host: s-7}}]}]
"""
UNRELATED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: elsewhere, namespace: other}
spec:
  hosts: [s-7.ns-0.svc.cluster.local]
  exportTo: ["."]
  http: [{timeout: %ds, route: [{destination: {host: s-7.ns-0.svc.cluster.local}}]}]
"""
ISOLATION = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: %s}
spec: {egress: [{hosts: ["./*"]}]}
"""


def registry(services: int, sidecars: int, *, isolated: bool) -> Registry:
    """Return a mesh of so many services; the workloads are behind them in turn."""
    return Registry(
        chain="fleet",
        services=tuple(
            Service(
                name=f"s-{number}",
                namespace=namespace(number, isolated=isolated),
                address=f"10.96.{number // 250}.{number % 250 + 1}",
                ports=(ServicePort(number=80, name="http"),),
            )
            for number in range(services)
        ),
        workloads=tuple(
            Workload(
                name=f"w-{number}",
                service=f"s-{number % services}",
                namespace=namespace(number % services, isolated=isolated),
                address=f"10.244.{number // 250}.{number % 250 + 1}",
                labels={"app": f"s-{number % services}"},
            )
            for number in range(sidecars)
        ),
    )


def namespace(service: int, *, isolated: bool) -> str:
    """Return the namespace of a service."""
    return f"ns-{service // TOGETHER if isolated else 0}"


async def control_plane(socket: str, services: int, sidecars: int, *, isolated: bool) -> None:
    """Serve; answer a line on standard input with a line of numbers."""

    async def publish(_addresses: object) -> None:
        return None

    mesh = registry(services, sidecars, isolated=isolated)
    narrow = "---".join(ISOLATION % name for name in mesh.namespaces)
    async with xds.serving(socket) as server:
        controller = Controller(
            registry=mesh,
            resources=parse.parse(documents.parse(narrow, "bench.yaml")) if isolated else (),
            server=server,
            settings=Settings(),
            publish=publish,
            authority=Authority("cluster.local", now=time.time()),
        )
        started, cpu = time.monotonic(), time.process_time()
        await controller.start()
        tell(ms=(time.monotonic() - started) * 1000, cpu_s=time.process_time() - cpu)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = json.loads(line)
            started, cpu = time.monotonic(), time.process_time()
            if order["do"] == "wait":
                await controller.acknowledged(timeout_s=600)
            else:
                parsed = parse.parse_with_origins(documents.parse(order["text"], "bench.yaml"))
                await controller.apply(parsed)
                await controller.acknowledged(timeout_s=600)
            tell(ms=(time.monotonic() - started) * 1000, cpu_s=time.process_time() - cpu)


def tell(**numbers: float) -> None:
    """Print numbers, and the most memory that this process has had."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**numbers, "peak_mb": peak_mb}), flush=True)


@dataclass(slots=True)
class Sidecar:
    """One simulated sidecar."""

    node: str
    octets: int = 0
    messages: int = 0
    """What it was sent."""

    async def run(self, socket: str) -> None:
        """Stay connected until cancelled."""
        own = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=own) as channel:
            call = channel.stream_stream(METHOD, discovery_pb2.DeltaDiscoveryRequest.SerializeToString)(
                wait_for_ready=True
            )
            for type_url in (CLUSTER, LISTENER):
                request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url)
                request.node.id = self.node
                await call.write(request)
            asked: set[str] = set()
            async for raw in call:
                self.octets += len(raw)
                self.messages += 1
                response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
                await call.write(
                    discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                )
                for type_url, names in wanted_by(response).items():
                    if type_url not in asked and names:
                        asked.add(type_url)
                        await call.write(
                            discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
                        )


_TABLES: dict[bytes, str] = {}


def wanted_by(response: discovery_pb2.DeltaDiscoveryResponse) -> dict[str, list[str]]:
    """Return what Envoy would ask for next, by type."""
    if response.type_url == CLUSTER:
        names = [one.name for one in response.resources if one.name.startswith("outbound|")]
        return {SECRET: ["default", "ROOTCA"], ENDPOINTS: names}
    if response.type_url == LISTENER:
        return {ROUTES: sorted({table for one in response.resources if (table := _table(one.resource.value))})}
    return {}


def _table(listener: bytes) -> str:
    """Return the route table that a listener names; all sidecars have the same, so each is looked at once."""
    if listener not in _TABLES:
        message = listener_pb2.Listener.FromString(listener)
        managers = [
            HttpConnectionManager.FromString(one.typed_config.value)
            for chain in message.filter_chains
            for one in chain.filters
            if one.name == "envoy.filters.network.http_connection_manager"
        ]
        _TABLES[listener] = next(
            (manager.rds.route_config_name for manager in managers if manager.rds.route_config_name), ""
        )
    return _TABLES[listener]


class Plane:
    """The control plane's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> dict[str, float]:
        """Return what it says next."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 900)
        if not line:
            raise RuntimeError("the control plane ended")
        return dict(json.loads(line))

    async def order(self, **what: str) -> dict[str, float]:
        """Let it do something, and return what that took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.told()


async def measure(kind: str, *, services: int, sidecars: int, changes: int) -> dict[str, Any]:
    """Bring up the control plane and its sidecars, change things, and return what that took."""
    with tempfile.TemporaryDirectory(prefix="clv") as folder:
        socket = str(Path(folder, "xds.sock"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--inside", f"{socket},{services},{sidecars},{kind}",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        try:
            return await _measured(Plane(process), socket, sidecars=sidecars, changes=changes)
        finally:
            process.kill()
            await process.wait()


async def _measured(plane: Plane, socket: str, *, sidecars: int, changes: int) -> dict[str, Any]:
    compiled = await plane.told()
    fleet = [Sidecar(f"w-{number}") for number in range(sidecars)]
    async with asyncio.TaskGroup() as tasks:
        started = time.monotonic()
        running = [tasks.create_task(sidecar.run(socket), name=sidecar.node) for sidecar in fleet]
        fetched = await plane.order(do="wait")
        first = {"s": time.monotonic() - started, "mb": sum(one.octets for one in fleet) / 1e6, **fetched}
        told = [await _change(plane, fleet, POLICY % (number + 1)) for number in range(changes)]
        unrelated = [await _change(plane, fleet, UNRELATED % (number + 1)) for number in range(changes)]
        for task in running:
            task.cancel()
    return {
        "compiled": compiled,
        "first": first,
        "change": {key: _report.spread(one[key] for one in told) for key in told[0]},
        "unrelated": {key: _report.spread(one[key] for one in unrelated) for key in unrelated[0]},
    }


async def _change(plane: Plane, fleet: list[Sidecar], text: str) -> dict[str, float]:
    octets, messages = sum(one.octets for one in fleet), sum(one.messages for one in fleet)
    took = await plane.order(do="apply", text=text)
    return {
        **took,
        "kb": (sum(one.octets for one in fleet) - octets) / 1000,
        "messages": sum(one.messages for one in fleet) - messages,
    }


def main() -> None:
    """Measure, print, keep."""
    options = _report.options(__doc__)
    if options.inside:
        socket, services, sidecars, kind = options.inside.split(",")
        asyncio.run(control_plane(socket, int(services), int(sidecars), isolated=kind == "isolated"))
        return
    size = 100 if options.quick else 0
    services, sidecars = size or SERVICES, size or SIDECARS
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    changes = 2 if options.quick else CHANGES
    found = {}
    for kind in ("isolated", "open"):
        found[kind] = asyncio.run(measure(kind, services=services, sidecars=sidecars, changes=changes))
        _show(kind, found[kind], services=services, sidecars=sidecars)
    _report.keep("fleet", {"services": services, "sidecars": sidecars, "meshes": found}, quick=options.quick)


def _show(kind: str, result: dict[str, Any], *, services: int, sidecars: int) -> None:
    compiled, first, change, unrelated = (result[name] for name in ("compiled", "first", "change", "unrelated"))
    number = _report.number
    _report.table(
        f"{sidecars} simulated sidecars at one control plane, {services} services, {kind}",
        ("", "time", "CPU of the control plane s", "sent", "messages", "peak memory MB"),
        [
            ("compile everything", f"{number(compiled['ms'])} ms", number(compiled["cpu_s"]), "-", "-",
             number(compiled["peak_mb"])),
            ("everybody's first configuration", f"{number(first['s'])} s", number(first["cpu_s"]),
             f"{number(first['mb'])} MB", "-", number(first["peak_mb"])),
            ("one VirtualService, to the last ACK", f"{number(change['ms'].median)} ms", number(change["cpu_s"].median),
             f"{number(change['kb'].median)} kB", number(change["messages"].median), number(change["peak_mb"].most)),
            ("a change that concerns nobody", f"{number(unrelated['ms'].median)} ms", number(unrelated["cpu_s"].median),
             f"{number(unrelated['kb'].median)} kB", number(unrelated["messages"].median),
             number(unrelated["peak_mb"].most)),
        ],
        notes=("the sidecars share the machine's cores with the control plane: their work is in the times",),
    )  # fmt: skip


if __name__ == "__main__":
    main()

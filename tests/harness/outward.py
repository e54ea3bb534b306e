"""A sidecar whose function dials a host outside of the mesh: the listener is bound, where nothing is intercepted."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

from clover.mesh import ir, server, snapshot
from clover.mesh.xds.resource import LISTENER, resource
from clover.mesh.xds.settings import Settings
from clover.mesh.xds.ways import ways_of
from clover.runtime.local.way_out import Way, WayOut
from harness import envoy, policies
from harness.otlp import receiving
from harness.ports import free_port
from harness.proxies import SIDECAR

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, annotations: {{clover/loopback: allow}}}}
spec:
  hosts: ["{host}"]
  ports: [{{number: {number}, name: port, protocol: {protocol}, targetPort: {target}}}]
  resolution: {resolution}
  endpoints: [{{address: {address}}}]
"""


def entry(host="api.example.com", *, target, number=80, protocol="HTTP", resolution="STATIC", address="127.0.0.1"):
    return ENTRY.format(
        name=host.strip("*.").replace(".", "-"),
        host=host,
        number=number,
        protocol=protocol,
        target=target,
        resolution=resolution,
        address=address,
    )


@contextlib.asynccontextmanager
async def sidecar(text, *, dialled, way_out=False):
    """Run a sidecar whose listener for the service port `dialled` is bound; yield the port, and the records."""
    assert not [problem for problem in policies.problems(text) if problem.severity == "error"]
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        directory = Path(name)
        (directory / "out").mkdir()
        settings = Settings(way_out=str(directory / "out") if way_out else "")
        port = free_port()
        told = _bound(policies.proxies(text)["waf"], settings, dialled=dialled, port=port)
        async with (
            receiving(directory / "otlp.sock") as received,
            server.serving(directory / "xds.sock") as control,
            envoy.envoy(directory, SIDECAR),
        ):
            out = WayOut()
            assert told.proxy is not None
            ways = ways_of([told.proxy], settings)
            await out.follow({way.socket: Way(host=way.host, port=way.port, loopback=way.loopback) for way in ways})
            generation = control.push({"http-lb-v1": told})
            result = await control.acknowledged(generation, timeout_s=15)
            assert result.accepted == ("http-lb-v1",), result
            try:
                yield port, received
            finally:
                await out.follow({})


def _believes_whoever_answers(tls):
    """Tell whether TLS needs no secret, which nobody gives out here."""
    return isinstance(tls, ir.OriginTls) and not tls.roots and not tls.identity


def _bound(proxy, settings, *, dialled, port):
    """Return a proxy's snapshot with one of its listeners bound to loopback, where no interception is needed."""
    (chosen,) = (one for one in proxy.outbound if one.port == dialled)
    wanted = replace(
        proxy,
        node="http-lb-v1",
        inbound=(),
        outbound=(replace(chosen, address="127.0.0.1", port=port),),
        clusters=tuple(
            cluster if _believes_whoever_answers(cluster.tls) else replace(cluster, tls=None)
            for cluster in proxy.clusters
        ),
        tables=tuple(table for table in proxy.tables if table.name == chosen.routes),
    )
    whole = snapshot.snapshot_from(wanted, settings)
    name = f"127.0.0.1_{port}"
    message = envoy.message(whole.resources[LISTENER][name])
    message.bind_to_port.value = True
    bound = resource(name, message, requires=whole.resources[LISTENER][name].requires)
    return replace(whole, resources={**whole.resources, LISTENER: {name: bound}})

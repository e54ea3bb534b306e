"""What a workload may reach, as the real Envoy has it: names, ways out, server names, and what nobody claims."""

import asyncio
import contextlib
import ssl
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from clover.mesh import ir, server, snapshot
from clover.mesh.xds.resource import LISTENER, resource
from clover.mesh.xds.settings import Settings
from clover.mesh.xds.ways import ways_of
from clover.runtime.local.way_out import Way, WayOut
from harness import envoy, policies
from harness.otlp import receiving
from harness.ports import free_port
from harness.proxies import SIDECAR

pytestmark = pytest.mark.envoy

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
ONLY_SERVICES = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
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


def _bound(proxy, settings, *, dialled, port):
    """Return a proxy's snapshot with one of its listeners bound to loopback, where no interception is needed."""
    (chosen,) = (one for one in proxy.outbound if one.port == dialled)
    wanted = replace(
        proxy,
        node="http-lb-v1",
        inbound=(),
        outbound=(replace(chosen, address="127.0.0.1", port=port),),
        clusters=tuple(replace(cluster, tls=None) for cluster in proxy.clusters),
        tables=tuple(table for table in proxy.tables if table.name == chosen.routes),
    )
    whole = snapshot.snapshot_from(wanted, settings)
    name = f"127.0.0.1_{port}"
    message = envoy.message(whole.resources[LISTENER][name])
    message.bind_to_port.value = True
    bound = resource(name, message, requires=whole.resources[LISTENER][name].requires)
    return replace(whole, resources={**whole.resources, LISTENER: {name: bound}})


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
async def test_a_proxy_looks_names_up_itself_where_it_can(resolution):
    async with envoy.echoing() as backend:
        text = entry(target=backend, resolution=resolution, address="localhost")
        async with sidecar(text, dialled=80) as (port, _):
            assert (await envoy.fetch(port, host="api.example.com")).status == 200


@pytest.mark.parametrize("resolution", ["STATIC", "DNS"])
async def test_the_way_out_leads_to_an_endpoint_that_only_this_machine_reaches(resolution):
    async with envoy.echoing() as backend:
        address = "127.0.0.1" if resolution == "STATIC" else "localhost"
        text = entry(target=backend, resolution=resolution, address=address)
        async with sidecar(text, dialled=80, way_out=True) as (port, received):
            answer = await envoy.fetch(port, "/x", host="api.example.com")
            await received.until(lambda got: got.logs)

    assert (answer.status, answer.echo["headers"]["host"]) == (200, "api.example.com")
    assert received.logs[0].attributes["upstream_cluster"] == "outbound|80||api.example.com"


async def test_an_endpoint_that_is_gone_is_answered_503():
    async with sidecar(entry(target=free_port()), dialled=80, way_out=True) as (port, received):
        assert (await envoy.fetch(port, host="api.example.com")).status == 503
        await received.until(lambda got: got.logs)

    assert "UC" in received.logs[0].attributes["flags"]


async def test_http_to_nobody_is_answered_502_where_only_services_may_be_called():
    text = f"{entry(target=free_port())}---{ONLY_SERVICES}"
    async with sidecar(text, dialled=80) as (port, received):
        assert (await envoy.fetch(port, host="nobody.example.com")).status == 502
        await received.until(lambda got: got.logs)

    (log,) = received.logs
    assert (log.attributes["route"], log.attributes["status"]) == ("block_all", "502")
    assert log.resource["clover.workload"] == "waf"


async def test_bytes_to_nobody_end_in_the_black_hole_with_a_record():
    text = f"{entry(target=free_port())}---{ONLY_SERVICES}"
    async with sidecar(text, dialled=80) as (port, received):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\x01 not http")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()
        await received.until(lambda got: got.logs)

    (log,) = received.logs
    assert (log.attributes["upstream_cluster"], log.attributes["flags"]) == (ir.BLACK_HOLE, "UH")
    assert log.resource["clover.workload"] == "waf"


async def test_tls_to_hosts_without_an_address_is_told_apart_by_the_name_that_it_says():
    async with answering(b"one") as one, answering(b"two") as two:
        text = "---".join(
            (
                entry("*.one.example.com", target=one, number=443, protocol="TLS"),
                entry("*.two.example.com", target=two, number=443, protocol="HTTPS"),
                ONLY_SERVICES,
            )
        )
        async with sidecar(text, dialled=443) as (port, received):
            heard = [await greet(port, name) for name in ("a.one.example.com", "b.two.example.com")]
            lost = await greet(port, "nobody.example.com")
            await received.until(lambda got: len(got.logs) == 3)

    assert (heard, lost) == ([b"one", b"two"], b"")
    ends = sorted(log.attributes["upstream_cluster"] for log in received.logs)
    assert ends == [ir.BLACK_HOLE, "outbound|443||*.one.example.com", "outbound|443||*.two.example.com"]


@contextlib.asynccontextmanager
async def answering(word):
    """Run a server that answers the first bytes that it gets with a word, whatever they are."""

    async def answer(reader, writer):
        await reader.read(65536)
        writer.write(word)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def greet(port, name):
    """Send the greeting of a TLS client that asks for `name`; return what comes back."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(outgoing.read())
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()

"""What a workload may reach, as the real Envoy has it: names, ways out, server names, and what nobody claims."""

import asyncio
import contextlib
import ssl

import pytest

from clover.mesh import ir
from harness import envoy
from harness.outward import entry, sidecar
from harness.ports import free_port

pytestmark = pytest.mark.envoy

ONLY_SERVICES = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""


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

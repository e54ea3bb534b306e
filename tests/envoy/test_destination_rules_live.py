"""What a DestinationRule asks of connections to a host outside, as the real Envoy carries it out."""

import asyncio
import contextlib
import socket

import pytest

from harness import envoy
from harness.outward import entry, sidecar
from harness.ports import free_port

pytestmark = pytest.mark.envoy

HOST = "api.example.com"


def rule(policy, host=HOST):
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host.replace(".", "-")}}}
spec: {{host: {host}, trafficPolicy: {policy}}}
"""


@contextlib.asynccontextmanager
async def server(answer):
    """Run a server; `answer(reader, writer)` is called for each connection."""
    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@contextlib.asynccontextmanager
async def introduced():
    """Run a server that notes how connections begin, and answers 200 to all of them."""
    beginnings = asyncio.Queue()

    async def answer(reader, writer):
        beginnings.put_nowait(await reader.readexactly(16) + await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with server(answer) as port:
        yield port, beginnings


@pytest.mark.parametrize("way_out", [False, True])
async def test_a_connection_begins_with_whose_it_is(way_out):
    async with introduced() as (backend, beginnings):
        text = f"{entry(target=backend)}---{rule(PROXY_PROTOCOL)}"
        async with sidecar(text, dialled=80, way_out=way_out) as (port, _):
            assert (await envoy.fetch(port, host=HOST)).status == 200

    said = await beginnings.get()
    assert said[:16] == SIGNATURE + FROM_A_CLIENT + b"\x11\x00\x0c"
    assert said[16:24] == socket.inet_aton("127.0.0.1") * 2
    assert int.from_bytes(said[26:28]) == port


@pytest.mark.parametrize("way_out", [False, True])
async def test_a_copy_begins_with_the_word_that_it_is_the_proxys_own(way_out):
    async with envoy.echoing() as backend, introduced() as (copies, beginnings):
        host = "copy.example.com"
        text = "---".join((entry(target=backend), entry(host, target=copies), rule(PROXY_PROTOCOL, host=host), MIRROR))
        async with sidecar(text, dialled=80, way_out=way_out) as (port, _):
            assert (await envoy.fetch(port, host=HOST)).status == 200
            async with asyncio.timeout(5):
                said = await beginnings.get()
            assert (await envoy.fetch(port, host=HOST)).status == 200

    assert said[:16] == SIGNATURE + FROM_ITSELF + b"\x00\x00\x00"


PROXY_PROTOCOL = "{proxyProtocol: {version: V2}}"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FROM_ITSELF, FROM_A_CLIENT = b"\x20", b"\x21"
MIRROR = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: mirror}}
spec:
  hosts: [{HOST}]
  http: [{{route: [{{destination: {{host: {HOST}}}}}], mirrors: [{{destination: {{host: copy.example.com}}}}]}}]
"""


async def test_answers_that_are_errors_by_choice_eject_and_others_do_not():
    async def busy(reader, writer):
        status = b"429" if (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /busy ") else b"500"
        writer.write(b"HTTP/1.1 %b X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        writer.close()

    detection = "{consecutive5xxErrors: 2, outlierDetectionHttpErrorCodes: [429], maxEjectionPercent: 100}"
    async with server(busy) as backend:
        text = f"{entry(target=backend)}---{rule(f'{{outlierDetection: {detection}}}')}"
        async with sidecar(text, dialled=80) as (port, _):
            seen = [(await envoy.fetch(port, path, host=HOST)).status for path in ("/",) * 4 + ("/busy",) * 3]

    assert seen == [500, 500, 500, 500, 429, 429, 503]


async def test_connections_that_fail_eject_as_well_when_they_are_counted_apart():
    detection = "{splitExternalLocalOriginErrors: true, maxEjectionPercent: 100}"
    text = f"{entry(target=free_port())}---{rule(f'{{outlierDetection: {detection}}}')}"
    async with sidecar(text, dialled=80) as (port, _):
        seen = [(await envoy.fetch(port, host=HOST)).body for _ in range(6)]

    assert b"connect error" in seen[0]
    assert seen[-1] == b"no healthy upstream"


async def test_a_connection_without_a_byte_is_closed_after_its_time():
    async def quiet(reader, writer):
        await reader.read()
        writer.close()

    async with server(quiet) as backend:
        text = f"{entry(target=backend, protocol='TCP')}---{rule('{connectionPool: {tcp: {idleTimeout: 200ms}}}')}"
        async with sidecar(text, dialled=80) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"first")
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()


async def test_a_cookie_says_more_when_it_is_made():
    hashing = "{httpCookie: {name: c, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}"
    async with envoy.echoing() as backend:
        text = f"{entry(target=backend)}---{rule(f'{{loadBalancer: {{consistentHash: {hashing}}}}}')}"
        async with sidecar(text, dialled=80) as (port, _):
            made = (await envoy.fetch(port, host=HOST)).headers["set-cookie"]

    assert made.partition("; ")[2] == "Path=/; SameSite=Lax; Secure; HttpOnly"

"""What each protocol becomes at the hops of a chain, with the real Envoy and small real servers."""

import asyncio
import base64
import contextlib
import hashlib
import ssl
from dataclasses import replace

import grpc
import grpc.aio
import pytest

from clover.mesh import ir
from clover.mesh.xds import compile
from harness import envoy, hops
from harness.hops import said
from harness.ports import free_port
from harness.proxies import CACHE, cluster_name, route, text

pytestmark = pytest.mark.envoy

HTTP10 = b"GET /old HTTP/1.0\r\nhost: a.example\r\n\r\n"
ECHO = "/test.Echo/"


@contextlib.asynccontextmanager
async def greeting():
    """Run a server that speaks first."""

    async def greet(reader, writer):
        writer.write(b"220 ready\r\n")
        line = await reader.readline()
        writer.write(b"250 " + line)
        await writer.drain()

    async with hops.speaking(greet) as port:
        yield port


@contextlib.asynccontextmanager
async def answering(name):
    """Run a server that says its name to whoever says something."""

    async def answer(reader, writer):
        await reader.read(1)
        writer.write(name)
        await writer.drain()

    async with hops.speaking(answer) as port:
        yield port


@contextlib.asynccontextmanager
async def grpc_server():
    async def unary(request, context):
        if request == b"fail":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
        return request.upper()

    async def stream(requests, context):
        async for request in requests:
            yield request.upper()

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


@contextlib.asynccontextmanager
async def two_hops(to, *routes, protocol=ir.Protocol.HTTP2):
    """Run a gateway, and a sidecar behind it in front of the port `to`."""
    async with (
        hops.inbound(protocol, to=to) as sidecar,
        hops.gateway(*routes, to=sidecar.port, protocol=protocol) as edge,
    ):
        yield edge, sidecar


async def test_http_1_0_is_refused_at_the_gateway_and_taken_when_the_chain_says_so():
    async with envoy.echoing() as backend:
        async with hops.gateway(to=backend) as hop:
            assert (await said(hop.port, HTTP10)).startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        async with hops.gateway(to=backend, http10=True) as hop:
            answer = await said(hop.port, HTTP10)

    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b'"path": "/old"' in answer


async def test_http_1_0_on_a_detected_port_is_http_when_the_chain_says_so():
    settings = replace(compile.DEFAULTS, http10=True)
    async with envoy.echoing() as backend, hops.outbound(to=backend, settings=settings) as hop:
        answer = await said(hop.port, HTTP10)
        await hop.received.until(lambda got: got.logs)

    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert (hop.received.logs[0].attributes["route"], hop.received.logs[0].attributes["protocol"]) == (
        "default",
        "HTTP/1.0",
    )


async def test_grpc_calls_and_streams_cross_two_hops_with_their_status():
    async with grpc_server() as backend, two_hops(backend) as (edge, sidecar):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
            assert await channel.unary_unary(f"{ECHO}Unary")(b"hello", timeout=10) == b"HELLO"
            call = channel.stream_stream(f"{ECHO}Stream")(iter([b"a", b"b", b"c"]), timeout=10)
            assert [answer async for answer in call] == [b"A", b"B", b"C"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"{ECHO}Unary")(b"fail", timeout=10)
        await sidecar.received.until(lambda got: len(got.logs) == 3)

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
    records = [record.attributes for record in sidecar.received.logs]
    assert [(record["protocol"], record["status"], record["grpc_status"]) for record in records] == [
        ("HTTP/2", "200", "OK"),
        ("HTTP/2", "200", "OK"),
        ("HTTP/2", "200", "FailedPrecondition"),
    ]


@pytest.mark.parametrize(
    ("only", "code"),
    [(None, grpc.StatusCode.UNAVAILABLE), ("/nothing", grpc.StatusCode.UNIMPLEMENTED)],
    ids=["nobody listens", "no route"],
)
async def test_what_a_proxy_answers_itself_is_a_grpc_status_to_grpc(only, code):
    routes = (route(match=ir.RequestMatch(path=text("exact", only))),) if only else ()
    async with (
        hops.gateway(*routes, to=free_port(), protocol=ir.Protocol.HTTP2) as edge,
        grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"{ECHO}Unary")(b"hello", timeout=10)

    assert caught.value.code() is code


async def test_http_2_with_prior_knowledge_is_recognised_on_a_detected_port():
    async with grpc_server() as backend, hops.outbound(to=backend) as hop:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{hop.port}") as channel:
            assert await channel.unary_unary(f"{ECHO}Unary")(b"hello", timeout=10) == b"HELLO"
        await hop.received.until(lambda got: got.logs)

    assert hop.received.logs[0].attributes["protocol"] == "HTTP/2"


async def test_a_function_that_speaks_http_1_behind_a_port_for_http_2_is_told_as_that():
    async with envoy.echoing() as backend, hops.gateway(to=backend, protocol=ir.Protocol.HTTP2) as hop:
        answer = await envoy.fetch(hop.port)
        await hop.received.until(lambda got: got.logs)

    assert answer.status == 502
    record = hop.received.logs[0].attributes
    assert (record["flags"], record["details"]) == ("UPE", "upstream_reset_before_response_started{protocol_error}")


async def test_a_function_that_speaks_http_2_alone_behind_a_port_for_http_1_is_told_as_that():
    async with grpc_server() as backend, hops.gateway(to=backend) as hop:
        answer = await envoy.fetch(hop.port)
        await hop.received.until(lambda got: got.logs)

    assert answer.status in (502, 503)
    assert hop.received.logs[0].attributes["flags"] in ("UPE", "UC")


async def test_a_browser_speaks_grpc_web_to_a_port_of_that_name_and_the_function_hears_grpc():
    message = b"\x00\x00\x00\x00\x05hello"
    head = f"POST {ECHO}Unary HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\n"
    request = f"{head}x-grpc-web: 1\r\ncontent-length: {len(message)}\r\nconnection: close\r\n\r\n".encode() + message
    async with grpc_server() as backend, hops.inbound(ir.Protocol.HTTP2, to=backend, grpc_web=True) as hop:
        answer = await said(hop.port, request)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: application/grpc-web+proto" in answer
    assert b"\x00\x00\x00\x00\x05HELLO" in answer
    assert b"grpc-status:0" in answer.replace(b" ", b"")


async def test_a_websocket_crosses_two_hops_in_both_directions():
    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
        key = lines["sec-websocket-key"] if lines["upgrade"] == "websocket" else ""
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\n\r\n"
        )
        writer.write(b"\x81\x05first")
        while frame := await reader.read(1024):
            writer.write(frame.upper())

    head = (
        b"GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    async with hops.speaking(serve) as backend, two_hops(backend, protocol=ir.Protocol.AUTO) as (edge, sidecar):
        async with hops.connected(edge.port) as (reader, writer), asyncio.timeout(10):
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(7) == b"\x81\x05first"
            writer.write(b"\x81\x05again")
            assert await reader.readexactly(7) == b"\x81\x05AGAIN"
        await sidecar.received.until(lambda got: got.logs)

    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    assert sidecar.received.logs[0].attributes["status"] == "101"


async def test_a_server_that_speaks_first_is_heard_on_a_port_for_tcp():
    async with (
        greeting() as backend,
        hops.outbound(ir.Protocol.TCP, to=backend) as hop,
        hops.connected(hop.port) as (reader, writer),
        asyncio.timeout(10),
    ):
        assert await reader.readline() == b"220 ready\r\n"
        writer.write(b"HELO\r\n")
        assert await reader.readline() == b"250 HELO\r\n"


async def test_a_server_that_speaks_first_is_never_heard_on_a_detected_port():
    async with greeting() as backend, hops.outbound(to=backend) as hop:
        assert await said(hop.port, b"", until=b"\n", timeout_s=1.2) == b""
        await hop.received.until(lambda got: got.logs)

    assert hop.received.logs[0].attributes["details"] == "closed_before_protocol_was_known"


@pytest.mark.parametrize("hop", [hops.outbound, hops.inbound], ids=["outbound", "inbound"])
async def test_a_server_that_speaks_first_is_heard_on_a_detected_port_once_detection_gives_up(hop):
    settings = replace(compile.DEFAULTS, detection_timeout_s=0.2)
    async with greeting() as backend, hop(to=backend, settings=settings) as running:
        assert await said(running.port, b"", until=b"\n") == b"220 ready\r\n"


def shares(*clusters, **more):
    return ir.TcpRoute(
        name="x.tcp.0",
        to=tuple(ir.WeightedCluster(cluster=name, weight=weight) for name, weight in clusters),
        **more,
    )


V1, V2 = cluster_name(CACHE, "v1"), cluster_name(CACHE, "v2")


@pytest.mark.parametrize("protocol", [ir.Protocol.TCP, ir.Protocol.AUTO])
async def test_connections_are_shared_out_by_weight(protocol):
    async with answering(b"one") as one, answering(b"two") as two:
        routes = (shares((V1, 3), (V2, 1)),)
        async with hops.outbound(protocol, to=one, others={V1: one, V2: two}, tcp=routes, cluster="") as hop:
            answers = [await said(hop.port, b"\x00\r\n") for _ in range(80)]

    assert set(answers) == {b"one", b"two"}
    assert 5 <= answers.count(b"two") <= 40


async def test_connections_are_told_apart_by_the_network_that_was_dialled_and_http_is_still_http():
    async with answering(b"one") as one, envoy.echoing() as two:
        routes = (shares((V1, 1), destinations=("127.0.0.0/8",)), shares((V2, 1)))
        async with hops.outbound(to=two, others={V1: one, V2: two}, tcp=routes, cluster="") as hop:
            assert await said(hop.port, b"\x00\r\n") == b"one"
            assert (await envoy.fetch(hop.port)).status == 200


async def test_connections_are_told_apart_by_the_name_that_tls_asks_for():
    async with answering(b"") as one, answering(b"") as two:
        routes = (
            shares((V1, 1), server_names=("a.example",), tls=True),
            shares((V2, 1), server_names=("*.b.example",), tls=True),
        )
        async with hops.outbound(ir.Protocol.TCP, to=one, others={V1: one, V2: two}, tcp=routes, cluster="") as hop:
            for name in ("a.example", "x.b.example", "c.example"):
                await _greet(hop.port, name)
            await hop.received.until(lambda got: len(got.logs) == 3)

    assert sorted(record.attributes["upstream_cluster"] for record in hop.received.logs) == ["-", V1, V2]
    assert [record.attributes["flags"] for record in hop.received.logs].count("NR") == 1


async def _greet(port, name):
    """Begin TLS with a server that does not speak it."""
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLError, ConnectionError, EOFError):
        async with asyncio.timeout(10):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
            writer.close()

"""A service's port whose protocol nobody declared, as the real Envoy sees its first bytes."""

import asyncio
import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from clover.mesh import ir, server, snapshot
from clover.mesh.xds.resource import LISTENER, resource
from harness import envoy, proxies
from harness.otlp import receiving
from harness.ports import free_port
from harness.proxies import CACHE, SIDECAR, cluster_name, members

pytestmark = pytest.mark.envoy


@contextlib.asynccontextmanager
async def listening(protocol: ir.Protocol):
    """Run a sidecar whose one service listener is bound to a port, so that no interception is needed to reach it."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        directory = Path(name)
        async with (
            envoy.echoing() as backend,
            receiving(directory / "otlp.sock") as received,
            server.serving(directory / "xds.sock") as control,
            envoy.envoy(directory, SIDECAR),
        ):
            port = free_port()
            generation = control.push({"http-lb-v1": _bound(protocol, port, backend)})
            result = await control.acknowledged(generation, timeout_s=10)
            assert result.accepted == ("http-lb-v1",), result
            yield port, received


def _bound(protocol: ir.Protocol, port: int, backend: int) -> snapshot.Snapshot:
    cluster = cluster_name(CACHE)
    proxy = proxies.sidecar(protocol=protocol)
    dialled = replace(proxy.outbound[0], address="127.0.0.1", port=port)
    proxy = replace(proxy, outbound=(dialled,), inbound=(), endpoints=(members(cluster, "127.0.0.1", port=backend),))
    whole = snapshot.snapshot_from(proxy)
    name = f"127.0.0.1_{port}"
    message = envoy.message(whole.resources[LISTENER][name])
    message.bind_to_port.value = True
    bound = resource(name, message, requires=whole.resources[LISTENER][name].requires)
    # The virtual listeners would take fixed ports of this machine.
    return replace(whole, resources={**whole.resources, LISTENER: {name: bound}})


async def say(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}}")
    writer.close()
    await writer.wait_closed()
    return answer


async def test_http_is_recognised_routed_and_left_as_it_is():
    async with listening(ir.Protocol.AUTO) as (port, received):
        answer = await envoy.fetch(port, "/a//b", host="any.example", x_request_id="mine", user_agent="test")
        await received.until(lambda got: got.logs and len(got.spans) == 2)

    headers = answer.echo["headers"]
    assert (headers["host"], headers["x-request-id"], headers["user-agent"]) == ("any.example", "mine", "test")
    assert answer.echo["path"] == "/a//b"
    assert answer.headers["server"] == "backend"
    assert "x-forwarded-for" not in headers
    assert "x-request-id" not in answer.headers
    (log,) = received.logs
    assert (log.attributes["direction"], log.attributes["route"]) == ("outbound", "default")
    assert log.attributes["upstream_cluster"] == cluster_name(CACHE)


async def test_a_trace_goes_on_through_a_sidecar():
    async with listening(ir.Protocol.AUTO) as (port, received):
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await envoy.fetch(port, traceparent=parent)
        await received.until(lambda got: len(got.spans) == 2)

    server_span, _ = sorted(received.spans, key=lambda span: span.kind)
    assert (server_span.trace_id, server_span.parent_id) == tuple(parent.split("-")[1:3])


async def test_http_1_0_is_carried_as_tcp_and_recorded_as_that():
    async with listening(ir.Protocol.AUTO) as (port, received):
        answer = await say(port, b"GET /old HTTP/1.0\r\n\r\n")
        await received.until(lambda got: got.logs)

    assert b'"path": "/old"' in answer
    assert received.spans == []
    (log,) = received.logs
    assert log.name.startswith(f"tcp to 127.0.0.1:{port}")
    assert "route" not in log.attributes
    assert log.attributes["upstream_cluster"] == cluster_name(CACHE)


@pytest.mark.parametrize("protocol", [ir.Protocol.TCP, ir.Protocol.AUTO])
async def test_what_is_not_http_is_carried_as_it_is(protocol):
    async with listening(protocol) as (port, received):
        # A verb that the detection does not know; the backend is not so particular.
        answer = await say(port, b"\x16\x03 /x y\r\n\r\n")
        await received.until(lambda got: got.logs)

    assert b"200 OK" in answer
    assert received.spans == []

"""Whatever goes wrong with a connection, there is a record that says where, of whom, and why."""

import pytest

from clover.mesh import ir
from clover.telemetry.query.outcomes import why
from harness import envoy, hops
from harness.ports import free_port
from harness.proxies import CACHE, cluster_name, route, text

pytestmark = pytest.mark.envoy

MAIN = cluster_name(CACHE)
NOT_HTTP = b"\x00\x01\x02\r\n\r\n"
TLS = b"\x16\x03\x01\x00\x05hello"
HTTP10 = b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"
NO_HOST = b"GET / HTTP/1.1\r\n\r\n"
BROKEN_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"x" * 40
BOTH_LENGTHS = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
LARGE = b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: strange\r\n\r\n"
FINE = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
OTHER_PATH = b"GET /other HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
A_WHILE_S = 1.2


def gateway(*, to):
    only = route(match=ir.RequestMatch(path=text("exact", "/")))
    return hops.gateway(only, to=to)


def gateway_behind_relay(*, to):
    return hops.gateway(to=to, gateway_proxy_protocol=True)


def gateway_to_nobody(*, to):
    return hops.gateway(to=free_port())


def outbound(protocol):
    return lambda *, to: hops.outbound(ir.Protocol(protocol), to=to)


def outbound_to_nobody(*, to):
    return hops.outbound(ir.Protocol.TCP, to=free_port())


def tls_routes(*, to):
    known = ir.TcpRoute(name="x.tls.0", to=(ir.WeightedCluster(cluster=MAIN),), server_names=("a.example",), tls=True)
    return hops.outbound(ir.Protocol.TCP, to=to, tcp=(known,), cluster="")


def inbound(protocol):
    return lambda *, to: hops.inbound(ir.Protocol(protocol), to=to)


def inbound_to_nobody(*, to):
    return hops.inbound(ir.Protocol.HTTP, to=free_port())


DPE = {"flags": "DPE", "flags_in_words": "DownstreamProtocolError"}
GONE = {"details": "closed_before_protocol_was_known", "filter_chain": "-"}
TABLE = [
    (gateway, HTTP10, {**DPE, "status": "426", "details": "low_version"}),
    (gateway, NO_HOST, {"status": "400", "details": "missing_host_header"}),
    (gateway, NOT_HTTP, {**DPE, "status": "400", "details": "http1.codec_error"}),
    (gateway, TLS, {**DPE, "status": "400", "details": "http1.codec_error"}),
    (gateway, BOTH_LENGTHS, {**DPE, "details": "http1.content_length_and_chunked_not_allowed"}),
    (gateway, LARGE, {**DPE, "status": "431", "details": "http1.headers_too_large"}),
    (gateway, UPGRADE, {"status": "403", "details": "upgrade_failed"}),
    (gateway, BROKEN_HTTP2, DPE),
    (gateway, OTHER_PATH, {"flags": "NR", "status": "404", "details": "route_not_found"}),
    (gateway_behind_relay, FINE, GONE),
    (gateway_to_nobody, FINE, {"flags": "UF", "status": "503", "attempts": "1"}),
    (outbound("http"), NO_HOST, {"status": "400", "details": "missing_host_header"}),
    (outbound("http"), NOT_HTTP, {"filter_chain": "PassthroughFilterChain"}),
    (outbound("http"), TLS, {"filter_chain": "PassthroughFilterChain"}),
    (outbound("http"), HTTP10, {"filter_chain": "PassthroughFilterChain"}),
    (outbound("http"), BROKEN_HTTP2, DPE),
    (outbound("auto"), b"", GONE),
    (outbound("auto"), b"GET", GONE),
    (outbound("auto"), BROKEN_HTTP2, DPE),
    (outbound_to_nobody, b"hello", {"flags": "UF,URX", "upstream_cluster": MAIN}),
    (tls_routes, b"hello\r\n\r\n", {"flags": "NR", "filter_chain": "-", "details": "filter_chain_not_found"}),
    (inbound("http"), HTTP10, {**DPE, "status": "426", "details": "low_version"}),
    (inbound("http"), NOT_HTTP, {**DPE, "details": "http1.codec_error"}),
    (inbound("http"), TLS, {**DPE, "details": "http1.codec_error"}),
    (inbound("auto"), b"", GONE),
    (inbound("auto"), NO_HOST, {"status": "400", "details": "missing_host_header"}),
    (inbound_to_nobody, FINE, {"status": "503"}),
]


@pytest.mark.parametrize(("hop", "said", "expected"), TABLE, ids=range(len(TABLE)))
async def test_every_failure_has_a_record_that_names_the_workload_the_listener_and_the_reason(hop, said, expected):
    async with envoy.echoing() as backend, hop(to=backend) as running:
        await hops.said(running.port, said, timeout_s=A_WHILE_S)
        await running.received.until(
            lambda got: any(expected.items() <= record.attributes.items() for record in got.logs)
        )

    record = next(one for one in running.received.logs if expected.items() <= one.attributes.items())
    assert record.resource["clover.workload"] == running.node
    assert record.attributes["direction"] in {"gateway", "outbound", "inbound"}
    assert record.attributes["downstream_local"] == f"127.0.0.1:{running.port}"
    assert record.attributes["filter_chain"] != "-" or expected.get("filter_chain") == "-"
    # What is carried as TCP is not lost, but told with the chain that carries it.
    assert why(record.attributes) or "Passthrough" in record.attributes["filter_chain"]


async def test_a_connection_that_only_tries_a_port_leaves_no_record():
    async with envoy.echoing() as backend, hops.outbound(to=backend) as hop:
        async with hops.connected(hop.port):
            pass
        await hops.said(hop.port, FINE)
        await hop.received.until(lambda got: got.logs)

    assert [record.attributes["status"] for record in hop.received.logs] == ["200"]

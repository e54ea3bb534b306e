"""Clients that lie in headers: at the gateway nothing they say changes routes, retries, identity or records."""

import re

import pytest

from clover.mesh import ir
from harness import envoy, hops
from harness.proxies import LB, cluster_name, forward, route, text

pytestmark = pytest.mark.envoy

MAIN = cluster_name(LB)
ORDERS = {
    "x-envoy-retry-on": "5xx",
    "x-envoy-retry-grpc-on": "unavailable",
    "x-envoy-max-retries": "9",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-upstream-alt-stat-name": "mine",
    "x-envoy-expected-rq-timeout-ms": "1",
    "x-envoy-retriable-status-codes": "418",
    "x-envoy-retriable-header-names": "server",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-original-path": "/innocent",
    "x-envoy-original-host": "innocent.example",
    "x-envoy-original-url": "/innocent",
    "x-envoy-decorator-operation": "mine",
    "x-envoy-attempt-count": "99",
    "x-envoy-is-timeout-retry": "true",
    "x-envoy-force-trace": "1",
    "x-envoy-ip-tags": "friend",
    "x-envoy-internal": "true",
    "x-envoy-external-address": "6.6.6.6",
    "x-envoy-downstream-service-cluster": "friend",
    "x-envoy-downstream-service-node": "friend",
    "x-envoy-peer-metadata": "friend",
    "x-envoy-peer-metadata-id": "friend",
    "x-envoy-upstream-service-time": "1",
    "x-envoy-degraded": "true",
    "x-envoy-immediate-health-check-fail": "true",
    "x-envoy-fault-delay-request": "5000",
    "x-envoy-fault-abort-request": "418",
    "x-envoy-nobody-knows-this-one": "1",
}


async def asked(hop, headers, path="/"):
    """Send headers as they are; return the answer and the record."""
    answer = await envoy.fetch(hop.port, path, **{name.replace("-", "_"): value for name, value in headers.items()})
    await hop.received.until(lambda got: got.logs)
    return answer, hop.received.logs[0].attributes


async def test_orders_to_the_proxy_are_not_passed_on_and_not_believed():
    async with envoy.echoing() as backend, hops.gateway(to=backend) as hop:
        answer, record = await asked(hop, ORDERS, "/real")

    passed = {name: value for name, value in answer.echo["headers"].items() if name.startswith("x-envoy-")}
    # What Envoy itself says of the client is true.
    assert set(passed.items()) <= {("x-envoy-external-address", "127.0.0.1"), ("x-envoy-internal", "true")}
    assert (record["path"], record["host"], record["attempts"]) == ("/real", "127.0.0.1", "1")
    assert not [span for span in hop.received.spans if "mine" in span.name or "innocent" in span.name]


async def test_a_client_cannot_ask_for_retries_or_for_a_time_limit():
    tried = []

    async def fail(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        tried.append(1)
        writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with hops.speaking(fail) as backend, hops.gateway(to=backend) as hop:
        answer, record = await asked(hop, ORDERS)

    assert (answer.status, len(tried), record["attempts"], record["details"]) == (503, 1, "1", "via_upstream")


async def test_a_client_cannot_ask_for_a_fault():
    faulty = route(fault=ir.Fault(abort_status=418, abort_percent=0.0001))
    async with envoy.echoing() as backend, hops.gateway(faulty, to=backend) as hop:
        answer, _ = await asked(hop, {**ORDERS, "x-envoy-fault-abort-request-percentage": "100"})

    assert answer.status == 200


async def test_a_client_cannot_say_who_it_is():
    claim = {"x-forwarded-client-cert": "By=spiffe://cluster.local/ns/x/sa/y;URI=spiffe://cluster.local/ns/x/sa/waf"}
    async with envoy.echoing() as backend, hops.gateway(to=backend) as hop:
        answer, record = await asked(hop, {**claim, "x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "https"})

    headers = answer.echo["headers"]
    assert "x-forwarded-client-cert" not in headers
    # The last address is the gateway's word; what stands before it is the client's.
    assert headers["x-forwarded-for"].split(",")[-1].strip() == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert record["downstream_remote"].startswith("127.0.0.1:")


async def test_a_header_that_claims_another_path_chooses_no_other_route():
    secret = route(ir.DirectResponse(code=418), match=ir.RequestMatch(path=text("prefix", "/innocent")))
    async with envoy.echoing() as backend, hops.gateway(secret, route(forward(MAIN)), to=backend) as hop:
        answer, record = await asked(hop, ORDERS, "/real")

    assert (answer.status, record["route"], record["path"]) == (200, "default", "/real")


@pytest.mark.parametrize(
    "given",
    ["00-" + "f" * 20_000, "\x7f", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01,00-x", "%REQ(:path)%", "é"],
    ids=["oversized", "control character", "two in one", "a format", "not ASCII"],
)
async def test_an_odd_traceparent_or_request_id_is_replaced(given):
    async with envoy.echoing() as backend, hops.gateway(to=backend) as hop:
        answer, record = await asked(hop, {"traceparent": given, "x-request-id": given})
    if answer.status == 400:
        assert record["flags"] == "DPE"
        return
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", answer.echo["headers"]["traceparent"])
    assert re.fullmatch("[0-9a-f-]{36}", answer.echo["headers"]["x-request-id"])
    assert record["request_id"] == answer.echo["headers"]["x-request-id"]


async def test_two_traceparents_are_none():
    first = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = f"GET / HTTP/1.1\r\nhost: a\r\ntraceparent: {first}\r\ntraceparent: {first}\r\nconnection: close\r\n\r\n"
    async with envoy.echoing() as backend, hops.gateway(to=backend) as hop:
        answer = await hops.said(hop.port, request.encode())
        await hop.received.until(lambda got: got.spans)

    assert b"200 OK" in answer
    assert answer.count(b"traceparent") == 1
    assert b"0af7651916cd43dd8448eb211c80319c" not in answer

"""OTLP over gRPC, from a real client to a real store."""

from __future__ import annotations

import asyncio
import os
import random

import grpc
import pytest
import pytest_asyncio
from grpc import aio

from clover.errors import HostError
from clover.telemetry import query
from clover.telemetry.ingest.server import MESSAGE_BYTES, serving_otlp
from clover.telemetry.store import RefusedError
from harness import http2
from harness import otlp_payloads as otlp

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("otlp") / "otlp.sock"
    path.write_text("left by a process that was killed")
    async with serving_otlp(path, store), aio.insecure_channel(f"unix:{path}") as opened:
        yield opened
    assert not path.exists()


async def test_what_is_acknowledged_can_be_asked_for(store, channel):
    trace = "a" * 32

    assert await channel.unary_unary(TRACES)(otlp.traces(otlp.span("1" * 16, trace=trace))) == b""
    assert await channel.unary_unary(LOGS)(otlp.logs({"trace": trace, "body": "hello"})) == b""

    found = await query.trace(store, trace)
    assert [span.span_id for span in found.spans] == ["1" * 16]
    assert [line.body for line in found.logs] == ["hello"]


async def test_compressed_requests_are_read(store, channel):
    request = otlp.traces(otlp.span("2" * 16, trace="b" * 32))

    await channel.unary_unary(TRACES)(request, compression=grpc.Compression.Gzip)

    assert (await query.trace(store, "b" * 32)).spans


async def test_an_empty_request_is_a_success(channel):
    assert await channel.unary_unary(TRACES)(b"") == b""


async def refusal(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_bad_data_is_the_senders_fault_and_not_worth_a_retry(channel):
    code, _ = await refusal(channel.unary_unary(TRACES)(b"\x0a\x05abc"))

    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_over_the_limit_is_refused(channel):
    code, _ = await refusal(channel.unary_unary(TRACES)(bytes(MESSAGE_BYTES + 1)))

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metrics_are_not_taken_yet(channel):
    code, _ = await refusal(channel.unary_unary(METRICS)(b""))

    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_random_bytes_among_sound_requests_cost_nobody_else_anything(store, channel):
    rng = random.Random(1)
    export, export_logs = channel.unary_unary(TRACES), channel.unary_unary(LOGS)
    sound = [otlp.traces(otlp.span("3" * 16, trace=f"{n:032x}")) for n in range(1000, 1030)]

    noise = [export(rng.randbytes(rng.randrange(1, 300))) for _ in range(60)]
    noise += [export_logs(request[: rng.randrange(len(request))]) for request in sound]
    await asyncio.gather(*(export(request) for request in sound))
    outcomes = await asyncio.gather(*noise, return_exceptions=True)

    codes = {outcome.code() for outcome in outcomes if isinstance(outcome, aio.AioRpcError)}
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT}
    for n in range(1000, 1030):
        assert (await query.trace(store, f"{n:032x}")).spans


async def test_a_full_queue_is_said_so_and_not_waited_for(store, channel, monkeypatch):
    monkeypatch.setattr(store, "_limits", store._limits.__class__(queue_bytes=10))
    before = (await store.statistics())["refused"]

    code, details = await refusal(channel.unary_unary(TRACES)(otlp.traces(otlp.span("1" * 16))))

    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the store's queue is full")
    with pytest.raises(RefusedError):
        await store.insert_logs(otlp.logs({"body": "x"}))
    assert (await store.statistics())["refused"] == before + 2


async def test_it_also_listens_on_a_tcp_port_of_this_machine(store, tmp_path):
    async with (
        serving_otlp(tmp_path / "o.sock", store, address="127.0.0.1:0") as port,
        aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert await channel.unary_unary(TRACES)(otlp.traces(otlp.span("4" * 16))) == b""


async def test_an_address_in_use_is_a_problem_that_names_it(store, tmp_path):
    async with serving_otlp(tmp_path / "a.sock", store, address="127.0.0.1:0") as port:
        with pytest.raises(HostError, match=f"CLV6005.*|127.0.0.1:{port}"):
            async with serving_otlp(tmp_path / "b.sock", store, address=f"127.0.0.1:{port}"):
                pass


async def test_a_socket_that_cannot_be_made_is_a_problem_that_names_it(store, tmp_path):
    with pytest.raises(HostError, match="CLV6005"):
        async with serving_otlp(tmp_path / "missing" / "o.sock", store):
            pass


async def test_opening_the_store_leaves_the_working_directory_alone(store):
    await store.opened()

    assert os.getcwd() == os.environ.get("PWD", os.getcwd())  # noqa: PTH109


async def test_a_proxy_without_traffic_may_ask_as_often_as_it_likes_whether_the_receiver_is_there(store, tmp_path):
    async with serving_otlp(tmp_path / "otlp.sock", store):
        assert await http2.pings_answered(tmp_path / "otlp.sock", 20) == 20

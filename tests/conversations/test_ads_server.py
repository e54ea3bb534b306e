"""The control plane's socket, spoken to as a proxy would, without one."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from clover.errors import MeshError
from clover.mesh import server, snapshot
from clover.mesh.xds.resource import CLUSTER, LISTENER
from harness import http2, proxies

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService"


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def calling(directory: Path, *, method: str = "DeltaAggregatedResources"):
    request, response = discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse
    if method.startswith("Stream"):
        request, response = discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse
    async with grpc.aio.insecure_channel(f"unix:{directory / 'xds.sock'}") as channel:
        call = channel.stream_stream(
            f"{_SERVICE}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )()
        yield call
        call.cancel()


def delta(node: str, type_url: str = CLUSTER, **more) -> discovery_pb2.DeltaDiscoveryRequest:
    return discovery_pb2.DeltaDiscoveryRequest(node={"id": node}, type_url=type_url, **more)


async def test_a_proxy_that_is_not_of_this_chain_is_told_who_is(directory):
    async with server.serving(directory / "xds.sock") as control, calling(directory) as call:
        control.push({"gateway": snapshot.snapshot_from(proxies.gateway())})
        await call.write(delta("stranger"))

        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    assert failure.value.details() == "no proxy is called 'stranger' in this chain; there are: gateway"


async def test_a_proxy_that_asks_for_whole_states_is_told_how_to_ask(directory):
    async with (
        server.serving(directory / "xds.sock"),
        calling(directory, method="StreamAggregatedResources") as call,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "DELTA_GRPC" in (failure.value.details() or "")


async def test_a_push_is_acknowledged_when_the_proxy_has_said_so(directory):
    async with server.serving(directory / "xds.sock") as control, calling(directory) as call:
        one = snapshot.snapshot_from(proxies.gateway(clusters=(), endpoints=()))
        generation = control.push({"gateway": one})
        await call.write(delta("gateway"))
        clusters = await call.read()
        await call.write(delta("", CLUSTER, response_nonce=clusters.nonce))
        assert not control.status()["gateway"].acknowledged

        await call.write(delta("", LISTENER, initial_resource_versions=_versions(one, LISTENER)))
        listeners = await call.read()
        await call.write(delta("", LISTENER, response_nonce=listeners.nonce))
        await call.write(delta("", TABLES, resource_names_subscribe=["http.8080"]))
        tables = await call.read()
        await call.write(delta("", TABLES, response_nonce=tables.nonce))
        result = await control.acknowledged(generation, timeout_s=30)

    assert (result.generation, result.accepted, result.pending) == (1, ("gateway",), ())
    assert [resource.name for resource in tables.resources] == ["http.8080"]


async def test_proxies_that_are_gone_or_silent_are_named(directory):
    async with server.serving(directory / "xds.sock") as control, calling(directory) as call:
        generation = control.push({name: snapshot.snapshot_from(proxies.gateway()) for name in ("silent", "gone")})
        await call.write(delta("silent"))
        await call.read()
        result = await control.acknowledged(generation, timeout_s=0)

    assert (result.pending, result.disconnected) == (("silent",), ("gone",))


async def test_a_proxy_that_leaves_is_not_waited_for(directory):
    async with server.serving(directory / "xds.sock") as control:
        generation = control.push({"gateway": snapshot.snapshot_from(proxies.gateway())})
        async with calling(directory) as call:
            await call.write(delta("gateway"))
            await call.read()
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(control.acknowledged(generation, timeout_s=30))
                call.cancel()
        result = waiting.result()

    assert result.disconnected == ("gateway",)
    assert result.elapsed_ms < 20_000


async def test_a_socket_that_cannot_be_opened_is_a_problem_and_not_a_traceback(directory):
    with pytest.raises(MeshError) as failure:
        async with server.serving(directory / "nowhere" / "xds.sock"):
            pass

    assert failure.value.problems[0].code == "CLV4402"
    assert str(directory / "nowhere") in failure.value.problems[0].where


async def test_a_socket_left_over_by_a_crash_is_replaced(directory):
    (directory / "xds.sock").touch()
    async with server.serving(directory / "xds.sock") as control, calling(directory) as call:
        control.push({"gateway": snapshot.snapshot_from(proxies.gateway())})
        await call.write(delta("gateway"))

        assert (await call.read()).type_url == CLUSTER


TABLES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def _versions(one: snapshot.Snapshot, type_url: str) -> dict[str, str]:
    return {name: resource.version for name, resource in one.resources[type_url].items()}


async def test_a_proxy_without_traffic_may_ask_as_often_as_it_likes_whether_the_control_plane_is_there(directory):
    async with server.serving(directory / "xds.sock"):
        assert await http2.pings_answered(directory / "xds.sock", 20) == 20

"""An ambassador is an ordinary gRPC server: others than Clover's own clients can talk to it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clover.control.methods import METHODS, SERVICE
from harness.ambassadors import Controlled, Refusal

TWO = 'configuration { load_balancer { backends { host: "web-2" } } }'
OF_A_LOAD_BALANCER = {"Get", "Apply", "Watch", "ListBackends", "SetBackendState"}


async def test_it_says_by_the_standard_health_service_that_it_serves(balancer: Controlled):
    health = health_pb2_grpc.HealthStub(balancer.channel)

    for service in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="nonsense"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_whoever_has_no_proto_file_learns_the_interface_by_reflection(balancer: Controlled):
    stub = reflection_pb2_grpc.ServerReflectionStub(balancer.channel)

    async def ask(request: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
        call = stub.ServerReflectionInfo(iter([request]), timeout=30)
        return await anext(aiter(call))

    listed = await ask(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert SERVICE in {service.name for service in listed.list_services_response.service}
    found = await ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE))
    assert found.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if name not in OF_A_LOAD_BALANCER and not method.streams_requests]
)
async def test_a_method_of_another_type_says_whose_it_is(balancer: Controlled, name: str):
    with pytest.raises(Refusal) as caught:
        await (balancer.first(name) if METHODS[name].streams_answers else balancer.call(name))

    assert (caught.value.code, caught.value.reason) == ("UNIMPLEMENTED", "CLV3311")
    assert f"{name} is for " in caught.value.message
    assert "'fn' is a load-balancer" in caught.value.message


async def test_bytes_that_are_no_message_are_refused_as_such(balancer: Controlled):
    call = balancer.channel.unary_unary(f"/{SERVICE}/Apply")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff", timeout=30)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_watchers_see_every_change_and_hear_something_in_every_interval(balancer: Controlled):
    async def watch() -> list:
        seen = []
        async for status in balancer.stream("Watch", "interval { nanos: 200000000 }"):
            seen.append(status)
            if status.generation == 2 and not status.changing and status.engine_ready:
                return seen
        return seen

    watching = [asyncio.ensure_future(watch()) for _ in range(5)]
    await asyncio.sleep(0)
    first = await balancer.first("Watch")
    assert (first.generation, first.engine_ready, first.workload) == (1, True, "fn")
    assert first.statistics["connections_active"] >= 0
    await balancer.call("Apply", TWO)

    for seen in await asyncio.wait_for(asyncio.gather(*watching), 60):
        assert seen[-1].generation == 2
        assert any(status.changing for status in seen)


@pytest.mark.parametrize("interval", ["nanos: 1000", "seconds: -1", "seconds: 99999"])
async def test_an_interval_that_makes_no_sense_is_refused(balancer: Controlled, interval: str):
    with pytest.raises(Refusal) as caught:
        await balancer.first("Watch", f"interval {{ {interval} }}")

    assert (caught.value.code, list(caught.value.fields)) == ("INVALID_ARGUMENT", ["interval"])


async def test_so_many_may_watch_that_changes_still_get_through(balancer: Controlled):
    streams = [balancer.stream("Watch", "interval { seconds: 60 }") for _ in range(24)]
    for stream in streams:
        await anext(aiter(stream))

    with pytest.raises(Refusal) as caught:
        await balancer.first("Watch")

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "CLV3312")
    assert (await balancer.call("Apply", TWO)).generation == 2
    for stream in streams:
        stream.cancel()

"""The door of the control plane, come to by processes that are its sidecars and by others."""

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from clover.mesh import server, snapshot
from clover.mesh.xds.resource import CLUSTER
from clover.runtime.local import door as doors
from clover.runtime.local.door import Door
from harness import proxies

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
COMES_AND_ENDS = """
import socket, sys
socket.socket(socket.AF_UNIX).connect(sys.argv[1].replace("@", "\\0"))
"""
"""A process that is gone before anybody asks who it was."""


@pytest.fixture
async def house():
    """A control plane behind a door with one entrance, that of `web`; what is said of strangers is in `said`."""
    said = []
    door = Door(say=said.append)
    name = f"@clv-{uuid.uuid4().hex}"
    entrance = socket.socket(socket.AF_UNIX)
    entrance.bind(name.replace("@", "\0"))
    entrance.listen()
    with tempfile.TemporaryDirectory(prefix="clv") as folder:
        path = Path(folder, "xds.sock")
        async with (
            asyncio.TaskGroup() as tasks,
            server.serving(path, peers=door.peers) as control,
            door.opened(path, {"web": entrance}, tasks=tasks),
        ):
            control.push({node: snapshot.snapshot_from(proxies.gateway()) for node in ("web", "lb")})
            yield SimpleNamespace(door=door, name=name, said=said, path=path)
            door._forget("web")


@contextlib.contextmanager
def somebody_else():
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_without_a_funeral(pid):
    """Kill a process, and return before anybody can have noticed that it has ended."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def descriptors_left(count):
    """Let this process open so many files more, and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as hog:
        hog.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 8, hard)
        )
        held = []
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        for _ in range(count):
            os.close(held.pop())
        for handle in held:
            hog.callback(os.close, handle)
        yield


async def answer(house, node):
    """Ask for the clusters of a proxy, as this process."""
    async with grpc.aio.insecure_channel(f"unix-abstract:{house.name[1:]}") as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )(timeout=10)
        try:
            await call.write(discovery_pb2.DeltaDiscoveryRequest(node={"id": node}, type_url=CLUSTER))
            return await call.read()
        finally:
            call.cancel()


async def until_sent_away(house):
    """Come to the entrance, and return when it is seen to be closed."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, house.name.replace("@", "\0"))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(loop.sock_recv(connection, 1), 10) == b""


async def test_a_sidecar_gets_what_is_for_it(house):
    house.door.expect("web", os.getpid())

    assert (await answer(house, "web")).type_url == CLUSTER
    assert house.said == []


async def test_a_sidecar_does_not_get_what_is_for_another(house):
    house.door.expect("web", os.getpid())
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await answer(house, "lb")

    assert failure.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert failure.value.details() == "this connection is not that of the proxy 'lb'"


async def test_a_process_that_is_not_the_sidecar_gets_nothing_whatever_it_says(house):
    with somebody_else() as sidecar:
        house.door.expect("web", sidecar.pid)
        await until_sent_away(house)

    (line,) = house.said
    assert line.startswith(f"control plane: process {os.getpid()} (")
    assert line.endswith("came in the place of the sidecar of 'web', and was sent away [CLV4190]")


async def test_strangers_do_not_fill_the_log(house, monkeypatch):
    with somebody_else() as sidecar:
        house.door.expect("web", sidecar.pid)
        for _ in range(20):
            await until_sent_away(house)
        assert len(house.said) == 1
        monkeypatch.setattr(house.door, "_quiet_until", 0.0)
        await until_sent_away(house)

    assert len(house.said) == 2
    assert "(20 times since the last word about this)" in house.said[1]


async def test_whoever_comes_before_the_sidecar_is_started_waits_and_is_judged_then(house):
    async with asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(until_sent_away(house))
        done, _ = await asyncio.wait([coming], timeout=0.05)
        assert not done
        with somebody_else() as sidecar:
            house.door.expect("web", sidecar.pid)
            await coming


async def test_a_connection_whose_process_has_ended_is_nobodys(house):
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", COMES_AND_ENDS, house.name], check=True)
    house.door.expect("web", os.getpid())
    await answer(house, "web")

    (line,) = house.said
    assert "a process that has ended" in line


async def test_a_sidecar_that_has_ended_is_not_taken_for_whoever_has_its_number_next(house):
    with somebody_else() as sidecar:
        house.door.expect("web", sidecar.pid)
        kill_without_a_funeral(sidecar.pid)

        assert not house.door._is_sidecar("web", sidecar.pid)


async def test_after_a_restart_the_new_process_is_the_sidecar(house):
    with somebody_else() as first:
        house.door.expect("web", first.pid)
        await until_sent_away(house)
    house.door.expect("web", os.getpid())

    assert (await answer(house, "web")).type_url == CLUSTER


async def test_the_control_planes_own_socket_cannot_be_found(house):
    assert not house.path.exists()


async def test_an_older_kernel_knows_the_number_of_a_peer(house, monkeypatch):
    monkeypatch.setattr(doors, "_SO_PEERPIDFD", 9999)
    house.door.expect("web", os.getpid())

    assert (await answer(house, "web")).type_url == CLUSTER


@pytest.mark.parametrize("left", [1, 2])
async def test_without_descriptors_to_ask_who_comes_nobody_comes_in_and_the_door_stays(house, left):
    house.door.expect("web", os.getpid())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        with descriptors_left(left):
            connection.connect(house.name.replace("@", "\0"))
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 1), 10) == b""

    assert (await answer(house, "web")).type_url == CLUSTER
    assert house.said == []


async def test_without_a_descriptor_to_let_a_sidecar_in_the_door_stays(house, monkeypatch):
    house.door.expect("web", os.getpid())

    def no_socket(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as context:
        context.setattr(doors, "socket", SimpleNamespace(**{**vars(socket), "socket": no_socket}))
        await until_sent_away(house)

    assert (await answer(house, "web")).type_url == CLUSTER


async def test_a_node_with_thousands_of_open_files_knows_its_sidecars(house, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        opened = os.pidfd_open
        with contextlib.ExitStack() as first:

            def high(pid):
                handle = opened(pid)
                first.callback(os.close, handle)
                return fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 2000)

            monkeypatch.setattr(os, "pidfd_open", high)
            house.door.expect("web", os.getpid())

            assert (await answer(house, "web")).type_url == CLUSTER
            house.door._forget("web")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_whoever_still_waits_when_the_door_is_closed_is_not_kept(house):
    # Warnings are errors: the door's end of the connection is closed when the house is left, and not by the collector.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, house.name.replace("@", "\0"))
        await asyncio.sleep(0)

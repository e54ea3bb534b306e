"""A change of a running HAProxy: at run time or by a reload, in force when it is said to be, and no request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from exchange import Answer, get
from running_engine import Engine, backend, change, lay_out, running, turn, write
from serving import answering

from clover.functions import registry
from clover.functions.driver import EngineDownError, EngineError, How, Settings
from clover.functions.haproxy import reports
from clover.functions.haproxy.sockets import ask
from clover.spec.chain import FunctionType
from clover.spec.configuration import Backend, LoadBalancerConfiguration
from harness.ports import free_port

pytestmark = pytest.mark.engines

BALANCER = registry.driver(FunctionType.LOAD_BALANCER, "haproxy")


@pytest.fixture(scope="module")
def servers(start) -> tuple[Engine, ...]:
    return tuple(start(FunctionType.SERVER, "nginx", name=f"server{n}") for n in (1, 2, 3))


@pytest.fixture
def balancer(start, servers) -> Engine:
    return start(FunctionType.LOAD_BALANCER, "haproxy", *(server.port for server in servers), name="lb")


def told(*backends: Backend, algorithm: str = "round-robin") -> LoadBalancerConfiguration:
    return LoadBalancerConfiguration(backends=backends, algorithm=algorithm)


def served(balancer: Engine, count: int) -> Counter[str]:
    return Counter(get(balancer.port, "/headers").headers["x-served-by"] for _ in range(count))


async def apply(balancer: Engine, *backends: Backend, algorithm: str = "round-robin") -> How:
    return await change(balancer, BALANCER, told(*backends, algorithm=algorithm))


async def workers(balancer: Engine, wanted: Callable[[reports.Workers], object] = lambda _: True) -> reports.Workers:
    """Return what the master says as soon as it is wanted; after each start and reload it is mute for a moment."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(EngineDownError):
                found = reports.workers_from(await ask(balancer.directory / "master.sock", "show proc"))
                if wanted(found):
                    return found
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running_request(balancer: Engine, backend_port: int) -> AsyncIterator[asyncio.Task[Answer]]:
    """Send a request that a slow backend has got when the block is entered."""
    async with asyncio.TaskGroup() as tasks:
        request = tasks.create_task(asyncio.to_thread(get, balancer.port, "/"))
        name = f"127.0.0.1:{backend_port}"
        async with asyncio.timeout(30):
            while True:
                if (await balancer.way(BALANCER).backends(balancer.settings))[name].active:
                    break
                await asyncio.sleep(0.01)
        yield request


class TestAtRunTime:
    async def test_weights_are_exact_shares_from_the_next_request(self, balancer, servers):
        one, two, three = (server.port for server in servers)

        how = await apply(balancer, backend(one, weight=5), backend(two, weight=3), backend(three, weight=2))

        assert how is How.RUNTIME
        assert served(balancer, 40) == {"server1": 20, "server2": 12, "server3": 8}

    @pytest.mark.parametrize("algorithm", ["round-robin", "least-connections", "random", "source"])
    @pytest.mark.parametrize("state", ["drain", "disabled"])
    async def test_a_backend_that_is_not_ready_gets_nothing_new(self, balancer, servers, algorithm, state):
        one, two, three = (server.port for server in servers)
        await apply(balancer, backend(one), backend(two), backend(three), algorithm=algorithm)

        how = await apply(balancer, backend(one), backend(two, state=state), backend(three), algorithm=algorithm)
        without = served(balancer, 30)
        again = await apply(balancer, backend(one), backend(two, weight=256), backend(three), algorithm=algorithm)
        with_it = served(balancer, 300 if algorithm == "random" else 30)

        assert (how, again) == (How.RUNTIME, How.RUNTIME)
        assert "server2" not in without
        assert algorithm == "source" or "server2" in with_it

    async def test_what_runs_on_a_drained_backend_comes_to_its_end(self, start, servers):
        drained = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(head: bytes) -> tuple[bytes, bytes]:
            asyncio.run_coroutine_threadsafe(drained.wait(), loop).result(10)
            return b"", b"late"

        with answering(slow) as port:
            balancer = start(FunctionType.LOAD_BALANCER, "haproxy", port, name="lb-drains")
            async with running_request(balancer, port) as request:
                how = await apply(balancer, backend(port, state="drain"))
                drained.set()
            answer = request.result()

        assert how is How.RUNTIME
        assert answer.body == b"late"
        assert balancer.access_of(answer.traceparent).generation == 1

    async def test_each_request_says_the_generation_that_it_began_with(self, balancer, servers):
        to = [backend(server.port) for server in servers]
        found = []
        for weight in (2, 3, 4):
            await apply(balancer, replace_weight(to[0], weight), *to[1:])
            found.append(balancer.access_of(get(balancer.port, "/").traceparent).generation)

        assert found == [2, 3, 4]

    async def test_a_change_of_nothing_counts_the_generation_on(self, balancer):
        how = await change(balancer, BALANCER, balancer.settings.configuration)

        assert how is How.RUNTIME
        assert balancer.access_of(get(balancer.port, "/").traceparent).generation == 2

    async def test_what_was_changed_at_run_time_outlives_a_reload(self, balancer, servers):
        one, two, three = (server.port for server in servers)
        to = (backend(one, weight=4), backend(two, state="drain"), backend(three, state="disabled"))
        await apply(balancer, *to)

        how = await apply(balancer, *to, algorithm="least-connections")
        answered = served(balancer, 10)
        again = await apply(balancer, backend(one), backend(two), backend(three), algorithm="least-connections")

        assert (how, again) == (How.RELOAD, How.RUNTIME)
        assert answered == {"server1": 10}
        assert set(served(balancer, 10)) == {"server1", "server2", "server3"}

    async def test_a_weight_that_haproxy_refuses_is_an_error_in_its_words(self, balancer, servers):
        before = balancer.settings
        after = replace(before, configuration=told(*(backend(s.port, weight=300) for s in servers)), generation=2)

        with pytest.raises(EngineError, match="Absolute weight can only be between 0 and 256 inclusive"):
            await balancer.way(BALANCER).change(before, after)


class TestByAReload:
    async def test_it_holds_for_every_new_connection_from_the_first(self, balancer, servers):
        for turn_ in range(6):
            wanted = servers[(turn_ + 1) % 2]

            how = await apply(balancer, backend(wanted.port), algorithm="random")

            answers = [get(balancer.port, "/headers") for _ in range(5)]
            assert how is How.RELOAD
            assert {answer.headers["x-served-by"] for answer in answers} == {wanted.name}
            assert {balancer.access_of(answer.traceparent).generation for answer in answers} == {turn_ + 2}

    async def test_a_configuration_that_haproxy_refuses_is_an_error_in_its_words(self, balancer, servers):
        before = balancer.settings
        after = replace(before, configuration=told(backend(servers[1].port)), generation=2)
        program = BALANCER.render(after)
        broken = {name: text + "\nnonsense here\n" for name, text in program.files.items()}
        lay_out(replace(program, files=broken), after)
        turn(after)
        way = balancer.way(BALANCER)

        with pytest.raises(EngineError, match="unknown keyword 'nonsense'"):
            await way.change(before, after)

        turn(before)
        how = await way.change(after, before)
        await way.confirm(before, how)
        assert how is How.NONE
        assert set(served(balancer, 6)) == {"server1", "server2", "server3"}
        assert await apply(balancer, backend(servers[1].port)) is How.RELOAD
        assert served(balancer, 3) == {"server2": 3}

    async def test_a_port_that_is_taken_is_an_error_in_its_words(self, balancer, servers):
        before = balancer.settings
        with socket.create_server(("127.0.0.1", 0)) as taken:
            after = replace(before, port=taken.getsockname()[1], generation=2)
            lay_out(BALANCER.render(after), after)
            turn(after)

            with pytest.raises(EngineError, match="cannot bind socket"):
                await balancer.way(BALANCER).change(before, after)

        turn(before)
        assert await balancer.way(BALANCER).change(after, before) is How.NONE

    async def test_a_request_that_runs_comes_to_its_end(self, start, servers):
        reloaded = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(head: bytes) -> tuple[bytes, bytes]:
            asyncio.run_coroutine_threadsafe(reloaded.wait(), loop).result(10)
            return b"", b"late"

        with answering(slow) as port:
            balancer = start(FunctionType.LOAD_BALANCER, "haproxy", port, name="lb-slow")
            async with running_request(balancer, port) as request:
                await apply(balancer, backend(servers[0].port))
                new = await asyncio.to_thread(get, balancer.port, "/headers")
                reloaded.set()
            answer = request.result()

        assert (new.headers["x-served-by"], answer.body) == ("server1", b"late")
        generations = [balancer.access_of(one.traceparent).generation for one in (answer, new)]
        assert generations == [1, 2]

    async def test_a_worker_leaves_when_its_last_connection_has_carried_one_more_request(self, balancer, servers):
        with socket.create_connection(("127.0.0.1", balancer.port), timeout=30) as idle:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
            (before,) = (await workers(balancer)).current

            await apply(balancer, backend(servers[0].port))
            waiting = await workers(balancer)
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = idle.recv(65536)

        assert waiting.leaving == (before,)
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert (await workers(balancer, lambda found: not found.leaving)).current != (before,)

    async def test_a_client_keeps_its_backend_when_another_is_removed(self, balancer, servers):
        one, two, three = (server.port for server in servers)
        await apply(balancer, backend(one), backend(two), backend(three), algorithm="source")
        clients = [f"198.51.100.{n}" for n in range(60)]
        before = {client: served_to(balancer, client) for client in clients}

        await apply(balancer, backend(two), backend(three), algorithm="source")

        moved = [client for client in clients if served_to(balancer, client) != before[client]]
        assert set(before.values()) == {"server1", "server2", "server3"}
        assert {before[client] for client in moved} == {"server1"}


class TestWhatIsSaid:
    async def test_a_backend_is_reported_with_its_state_and_its_requests(self, balancer, servers):
        one, two, three = (server.port for server in servers)
        to = (backend(one, weight=2), backend(two, state="drain"), backend(three, state="disabled"))
        await apply(balancer, *to)
        served(balancer, 7)

        found = await balancer.way(BALANCER).backends(balancer.settings)

        assert {name: (report.state, report.requests_total) for name, report in found.items()} == {
            f"127.0.0.1:{one}": ("UP", 7),
            f"127.0.0.1:{two}": ("DRAIN", 0),
            f"127.0.0.1:{three}": ("MAINT", 0),
        }

    async def test_statistics_count_requests_and_reloads(self, balancer, servers):
        served(balancer, 5)
        before = await balancer.way(BALANCER).statistics()
        await apply(balancer, backend(servers[0].port))

        after = await balancer.way(BALANCER).statistics()

        assert before["requests_total"] == 5
        assert before["responses_2xx_total"] == 5
        assert (before["reloads_total"], after["reloads_total"]) == (0, 1)
        assert after["connections_active"] == 0

    async def test_what_the_worker_says_is_compared_and_not_what_it_was_told(self, balancer, servers):
        way = balancer.way(BALANCER)
        name = f"127.0.0.1:{servers[0].port}"
        await ask(balancer.directory / "admin.sock", f"set server next/{name} weight 7")
        await ask(balancer.directory / "admin.sock", f"set server next/127.0.0.1:{servers[1].port} state maint")

        with pytest.raises(EngineError) as caught:
            await way.confirm(replace(balancer.settings, generation=9), How.RUNTIME)

        assert str(caught.value) == (
            "HAProxy does not work by generation 9: it says generation 1; "
            f"{name} has the weight 7, expected 1; 127.0.0.1:{servers[1].port} is in maintenance"
        )

    @pytest.mark.parametrize("whom", ["group", "master", "worker"])
    async def test_a_haproxy_that_is_gone_is_down(self, start, servers, whom):
        balancer = start(FunctionType.LOAD_BALANCER, "haproxy", servers[0].port, name="lb-killed")
        way = balancer.way(BALANCER)
        (worker,) = (await workers(balancer)).current
        if whom == "group":
            os.killpg(balancer.process.pid, signal.SIGKILL)
        else:
            os.kill(balancer.process.pid if whom == "master" else worker, signal.SIGKILL)
        await asyncio.to_thread(balancer.process.wait, 5)
        with contextlib.suppress(ProcessLookupError):
            gone = os.pidfd_open(worker)
            assert select.select([gone], [], [], 5)[0], "the worker has outlived its master"
            os.close(gone)

        after = replace(balancer.settings, generation=2)
        for attempt in (
            way.change(balancer.settings, after),
            way.confirm(after, How.RELOAD),
            way.statistics(),
            way.backends(after),
        ):
            with pytest.raises(EngineDownError):
                await attempt

    async def test_a_haproxy_that_does_not_answer_is_down(self, start, servers, monkeypatch):
        monkeypatch.setattr("clover.functions.haproxy.sockets.ANSWER_S", 0.3)
        balancer = start(FunctionType.LOAD_BALANCER, "haproxy", servers[0].port, name="lb-stopped")
        way = balancer.way(BALANCER)
        os.killpg(balancer.process.pid, signal.SIGSTOP)

        with pytest.raises(EngineDownError, match=r"does not answer on admin\.sock within 0\.3 s"):
            await way.confirm(balancer.settings, How.RUNTIME)

    async def test_a_path_longer_than_a_sockets_name_does_no_harm(self, open_directory, servers):
        directory = open_directory / ("d" * 100) / ("e" * 100)
        directory.mkdir(parents=True)
        settings = Settings(
            workload="w",
            function="w",
            version="v1",
            port=free_port(),
            configuration=told(*(backend(server.port) for server in servers)),
            directory=str(directory),
        )
        program = BALANCER.render(settings)
        write(program, settings)
        with running(program, settings) as balancer:
            assert await apply(balancer, backend(servers[0].port)) is How.RELOAD


class TestUnderLoad:
    @pytest.mark.parametrize("how", [How.RUNTIME, How.RELOAD])
    async def test_no_request_is_lost_on_connections_that_are_kept(self, balancer, servers, how):
        one, two, three = (server.port for server in servers)
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(statuses_until(enough, balancer.port)) for _ in range(8)]
            for number in range(10):
                algorithm = ("random", "least-connections")[number % 2] if how is How.RELOAD else "round-robin"
                to = (
                    backend(one, weight=number + 1),
                    backend(two),
                    backend(three, state=("drain", "ready")[number % 2]),
                )
                assert await apply(balancer, *to, algorithm=algorithm) is how
            enough.set()

        answered = Counter(status for client in clients for status in client.result())
        assert answered.keys() == {200}
        assert len(balancer.accesses(answered.total())) == answered.total()


async def statuses_until(enough: asyncio.Event, port: int) -> list[int]:
    """Send GET and POST in turn on one connection for as long as it is kept, then on the next."""
    statuses: list[int] = []
    while not enough.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        kept = True
        while kept and not enough.is_set():
            method, body = (b"GET", b"") if len(statuses) % 2 else (b"POST", b"x" * 2000)
            writer.write(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (method, len(body), body))
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            statuses.append(int(head.split()[1]))
            kept = b"connection: close" not in head
        writer.close()
        await writer.wait_closed()
    return statuses


def replace_weight(one: Backend, weight: int) -> Backend:
    return one.model_copy(update={"weight": weight})


def served_to(balancer: Engine, client: str) -> str:
    """Return which server answers a client whose request comes from the sidecar's address."""
    with socket.create_connection(("127.0.0.1", balancer.port), timeout=30, source_address=("127.0.0.6", 0)) as one:
        one.sendall(
            f"GET /headers HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while chunk := one.recv(65536):
            answer += chunk
    (line,) = (line for line in answer.decode().lower().split("\r\n") if line.startswith("x-served-by: "))
    return line.partition(": ")[2]

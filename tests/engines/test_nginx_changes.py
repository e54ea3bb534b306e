"""A change of a running nginx: in force when it is said to be, taken back when it is not, and no request is lost."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from exchange import get
from running_engine import Engine, backends, change, lay_out, turn
from serving import answering

from clover.functions import registry
from clover.functions.driver import EngineDownError, EngineError, How
from clover.functions.nginx_running import NginxRunning
from clover.spec.chain import FunctionType
from clover.spec.configuration import LoadBalancerConfiguration

pytestmark = pytest.mark.engines

BALANCER = registry.driver(FunctionType.LOAD_BALANCER, "nginx")


@pytest.fixture(scope="module")
def servers(start) -> tuple[Engine, Engine]:
    return tuple(start(FunctionType.SERVER, "nginx", name=f"server{n}") for n in (1, 2))


def to(*servers: Engine) -> LoadBalancerConfiguration:
    return LoadBalancerConfiguration(backends=backends(*(server.port for server in servers)))


def test_a_confirmed_change_holds_for_every_new_connection_from_the_first(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb")
    for turn_ in range(6):
        wanted = servers[(turn_ + 1) % 2]

        how = asyncio.run(change(balancer, BALANCER, to(wanted)))

        answers = [get(balancer.port, "/headers") for _ in range(5)]
        assert how is How.RELOAD
        assert {answer.headers["x-served-by"] for answer in answers} == {wanted.name}
        assert {balancer.access_of(answer.traceparent).generation for answer in answers} == {turn_ + 2}


async def test_a_reload_that_nginx_refuses_is_an_error_in_its_words_at_once(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb-refuses")
    before = balancer.settings
    after = replace(before, configuration=to(servers[1]), generation=2)
    program = BALANCER.render(after)
    broken = {name: text + "\nnonsense here;\n" for name, text in program.files.items()}
    lay_out(replace(program, files=broken), after)
    turn(after)
    way = balancer.way(BALANCER)

    how = await way.change(before, after)
    with pytest.raises(EngineError, match='unknown directive "nonsense"'):
        await way.confirm(after, how)

    turn(before)
    await way.confirm(before, await way.change(after, before))
    assert get(balancer.port, "/headers").headers["x-served-by"] == "server1"


async def test_an_nginx_that_is_gone_is_down(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb-killed")
    way = balancer.way(BALANCER)
    os.killpg(balancer.process.pid, signal.SIGKILL)
    balancer.process.wait(timeout=30)

    for attempt in (
        way.change(balancer.settings, balancer.settings),
        way.confirm(balancer.settings, How.RELOAD),
        way.statistics(),
    ):
        with pytest.raises(EngineDownError):
            await attempt


async def test_the_pid_of_another_program_is_never_signalled(start, servers, tmp_path):
    stranger = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="stranger")
    (tmp_path / "nginx.pid").write_text(f"{stranger.process.pid}\n")
    mine = replace(stranger.settings, directory=str(tmp_path))

    with pytest.raises(EngineDownError, match="belongs to another program"):
        await NginxRunning.of(mine).change(mine, mine)


async def test_statistics_count_requests_across_reloads(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb-counts")
    way = balancer.way(BALANCER)
    before = await way.statistics()
    for _ in range(5):
        get(balancer.port, "/")
    await change(balancer, BALANCER, to(servers[1]))

    after = await way.statistics()

    assert after["requests_total"] >= before["requests_total"] + 5
    assert after["connections_active"] >= 1
    assert after["connections_accepted_total"] == after["connections_handled_total"]


def told_to_close(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /headers HTTP/1.1\r\nHost: a\r\n\r\n")
        return b"\r\nconnection: close\r\n" in connection.recv(65536).lower()


def test_a_generation_that_goes_asks_its_clients_to_close_their_connections(start, servers):
    for engine in (start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="leaves"), servers[0]):
        leaving = Path(engine.settings.folder, "leaving")
        told = [told_to_close(engine.port)]
        leaving.touch()
        told.append(told_to_close(engine.port))
        leaving.unlink()
        told.append(told_to_close(engine.port))

        assert told == [False, True, False]


async def test_a_generation_that_is_put_back_asks_nobody_to_close(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="back")
    first = balancer.settings
    await change(balancer, BALANCER, to(servers[1]))
    way = balancer.way(BALANCER)

    turn(first)
    await way.confirm(first, await way.change(balancer.settings, first))

    assert not told_to_close(balancer.port)


def test_a_slow_answer_and_a_websocket_outlive_a_change(start, servers):
    half, changed = threading.Event(), threading.Event()

    def slow(connection: socket.socket) -> None:
        request = connection.recv(65536)
        if b"websocket" in request:
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while chunk := connection.recv(4096):
                connection.sendall(chunk)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        half.set()
        assert changed.wait(20)
        connection.sendall(b"after")

    with answering(slow, raw=True) as port:
        balancer = start(FunctionType.LOAD_BALANCER, "nginx", port, name="slow")
        with (
            socket.create_connection(("127.0.0.1", balancer.port), timeout=30) as chat,
            socket.create_connection(("127.0.0.1", balancer.port), timeout=30) as client,
        ):
            chat.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            assert chat.recv(4096).startswith(b"HTTP/1.1 101 ")
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert half.wait(20)

            asyncio.run(change(balancer, BALANCER, to(servers[1])))

            assert get(balancer.port, "/headers").headers["x-served-by"] == servers[1].name
            changed.set()
            answer = b""
            while not answer.endswith(b"after"):
                answer += client.recv(4096)
            chat.sendall(b"hello")
            assert chat.recv(4096) == b"hello"


def test_clients_that_close_connections_when_asked_to_lose_no_request_whatever_its_method(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="busy")
    done, answered, lost = threading.Event(), [], []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=30)
        while not done.is_set():
            try:
                connection.request("POST", "/status/200", body=b"x" * 100)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as failure:
                lost.append(failure)
                connection.close()
                continue
            answered.append(response.status)
            if "close" in (response.getheader("Connection") or ""):
                connection.close()
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        for number in range(5):
            asyncio.run(change(balancer, BALANCER, to(servers[number % 2])))
    finally:
        done.set()
        for thread in clients:
            thread.join(timeout=30)
    assert lost == []
    assert set(answered) == {200}

"""A process and its supervisor, without a chain: what happens to processes that hang or die."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from clover.errors import FunctionError, clover_errors
from clover.runtime.local import supervisor
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.plan import ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus, State
from harness.ports import free_port

LISTENS = """
import pathlib, socket, sys, signal
life = pathlib.Path("life")
number = int(life.read_text()) + 1 if life.exists() else 1
life.write_text(str(number))
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if number != 2:
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
print("life", number, flush=True)
signal.pause()
"""
"""A server whose second life hangs before it listens."""


CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21


def supervised(tmp_path, *command, port, name="engine", companions=(), restarted=lambda *_: None, vital=True, **more):
    (tmp_path / "logs").mkdir(exist_ok=True)
    process = ProcessPlan(name=name, argv=command, ready_tcp=port, **more)
    workload = WorkloadPlan(
        name="web",
        function="web",
        version="v1",
        engine="command",
        address="127.0.0.1",
        port=port,
        directory=str(tmp_path),
        files={},
        sidecar=process,
        engine_process=process,
        companions=tuple(ProcessPlan(name="ambassador", argv=(), ready_tcp=one) for one in companions),
    )
    status = ProcessStatus()
    news = asyncio.Event()
    keeper = Supervisor(
        workload, process, status=status, network=None, output=lambda _: None, changed=news.set,
        restarted=restarted, vital=vital,
    )  # fmt: skip
    return keeper, status, news


async def until(question, news, *, within_s=60.0):
    async with asyncio.timeout(within_s):
        while not question():
            news.clear()
            await news.wait()


async def test_a_process_that_hangs_in_a_later_life_is_started_again(tmp_path, monkeypatch):
    port = free_port()
    keeper, status, news = supervised(tmp_path, sys.executable, "-c", LISTENS, str(port), port=port)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keeper.run())
        await keeper.first_ready.wait()
        # It ends the life that hangs, and any that a busy machine starts too slowly: another follows.
        monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 1.0)
        supervisor._kill_group(status.pid)
        await until(lambda: status.restarts >= 2 and status.state is State.READY, news)
        await keeper.stop()
        await running

    assert int((tmp_path / "life").read_text()) >= 3
    assert status.state is State.STOPPED


async def test_a_process_that_ends_before_it_was_ready_fails_with_its_last_words(tmp_path):
    keeper, _, _ = supervised(tmp_path, sys.executable, "-c", "print('no data'); raise SystemExit(9)", port=free_port())
    with pytest.raises((FunctionError, ExceptionGroup)) as failure:
        await keeper.run()

    (error,) = clover_errors(failure.value)
    assert "no data" in str(error)
    assert "exited with 9" in str(error)


READS_AND_WRITES = """
import os
print(open("/dev/fd/0").read())
for mode in (os.O_WRONLY, os.O_RDWR):
    try:
        os.write(os.open("/dev/fd/0", mode), b"other words")
    except OSError as failure:
        print(failure.strerror)
"""


async def test_nobody_can_change_what_a_process_is_told_on_its_standard_input(tmp_path):
    keeper, _, _ = supervised(tmp_path, sys.executable, "-c", READS_AND_WRITES, port=free_port(), input="my words")
    with pytest.raises((FunctionError, ExceptionGroup)) as failure:
        await keeper.run()

    (error,) = clover_errors(failure.value)
    lines = [line.strip(" |") for line in str(error).splitlines()]
    assert lines[2:5] == ["my words", "Operation not permitted", "Operation not permitted"]


async def test_a_confined_process_loses_what_it_would_need_to_look_into_others(tmp_path):
    keeper, _, _ = supervised(tmp_path, "grep", "CapBnd", "/proc/self/status", port=free_port(), confined=True)
    with pytest.raises((FunctionError, ExceptionGroup)) as failure:
        await keeper.run()

    bounds = int(str(failure.value).split("CapBnd:")[1].split()[0], 16)
    assert bounds & (1 << CAP_SYS_PTRACE | 1 << CAP_SYS_ADMIN) == 0


async def test_what_died_is_called_by_its_name(tmp_path):
    keeper, _, _ = supervised(tmp_path, "false", port=1, name="ambassador")

    with pytest.raises(FunctionError, match="ambassador of 'web' ended before it was ready"):
        await keeper.run()


async def test_a_process_that_is_given_up_is_collected_by_who_started_it(tmp_path, monkeypatch):
    """Whoever collects it first takes its exit from asyncio, which complains of an unknown child."""
    collected = []
    monkeypatch.setattr(supervisor, "_reap_group", collected.append)
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 0.2)
    keeper, _, _ = supervised(tmp_path, "sleep", "60", port=free_port())

    with pytest.raises((FunctionError, ExceptionGroup)):
        await keeper.run()
    child = keeper._child
    assert isinstance(child, asyncio.subprocess.Process)

    assert await asyncio.wait_for(child.wait(), 10) == -signal.SIGKILL
    assert not collected


async def test_what_listens_there_is_told_without_what_is_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(supervisor.listening, "listeners", lambda _: ("[::]:50054", "127.0.0.1:7000", "0.0.0.0:15001"))
    keeper, _, _ = supervised(tmp_path, "sleep", "60", port=free_port(), companions=(50054,))

    with pytest.raises((FunctionError, ExceptionGroup)) as failure:
        await keeper.run()

    (error,) = clover_errors(failure.value)
    assert keeper._child
    await asyncio.wait_for(keeper._child.wait(), 10)
    assert "listening there now: 127.0.0.1:7000" in " ".join(str(error).split())
    assert "50054" not in str(error)


async def test_who_died_and_how_is_told_before_it_is_started_again(tmp_path):
    told = []
    heard = asyncio.Event()

    def restarted(*said):
        told.append(said)
        heard.set()

    keeper, status, _ = supervised(tmp_path, "true", port=1, restarted=restarted, vital=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keeper.run())
        await asyncio.wait_for(heard.wait(), 30)
        await keeper.stop()

    assert told[0] == ("web command", "exited with 0")
    assert status.restarts >= 1

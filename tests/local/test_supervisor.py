"""A process and its supervisor, without a chain: what happens to processes that hang or die."""

from __future__ import annotations

import asyncio
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


def supervised(tmp_path, *command, port, name="engine"):
    (tmp_path / "logs").mkdir(exist_ok=True)
    process = ProcessPlan(name=name, argv=command, ready_tcp=port)
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
    )
    status = ProcessStatus()
    news = asyncio.Event()
    keeper = Supervisor(workload, process, status=status, network=None, output=lambda _: None, changed=news.set)
    return keeper, status, news


async def until(question, news, *, within_s=20.0):
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
        monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 0.3)
        supervisor._kill_group(status.pid)
        await until(lambda: status.restarts == 2 and status.state is State.READY, news)
        await keeper.stop()
        await running

    assert (tmp_path / "life").read_text() == "3"
    assert status.state is State.STOPPED


async def test_a_process_that_ends_before_it_was_ready_fails_with_its_last_words(tmp_path):
    keeper, _, _ = supervised(tmp_path, sys.executable, "-c", "print('no data'); raise SystemExit(9)", port=free_port())
    with pytest.raises((FunctionError, ExceptionGroup)) as failure:
        await keeper.run()

    (error,) = clover_errors(failure.value)
    assert "no data" in str(error)
    assert "exited with 9" in str(error)


async def test_what_died_is_called_by_its_name(tmp_path):
    keeper, _, _ = supervised(tmp_path, "false", port=1, name="ambassador")

    with pytest.raises(FunctionError, match="ambassador of 'web' ended before it was ready"):
        await keeper.run()

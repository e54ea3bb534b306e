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


CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21


def supervised(tmp_path, *command, port, name="engine", **more):
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
    )
    status = ProcessStatus()
    news = asyncio.Event()
    keeper = Supervisor(workload, process, status=status, network=None, output=lambda _: None, changed=news.set)
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

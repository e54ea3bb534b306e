"""What ambassadors cost: the time and the processor time until one answers, and until one that was killed does again.

    bench/ambassadors.py [--quick]

All ambassadors of a chain are copies of one warm process, which imports everything once. Measured are that process
alone, from its start until a first copy runs; then copies that become ambassadors (of a load balancer, with files of a
real chain, in the host's network), from the order until the port accepts; and, in the running sample chain, the time
from SIGKILL for an ambassador until it answers a call through the control agent. How much memory they take is for
bench/memory.py to say.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import _chain
import _processes
import _report

from clover.control.settings import AMBASSADOR_FILE
from clover.runtime.local.warm import Child, Warm

COMMAND = (sys.executable, "-m", "clover", "warm")
MODEL = "http-lb-v2"
KILLED = ("http-lb-v1", "http-lb-v2", "web-cache", "access-control", "ids", "clover-server1")
VERSIONS = {"http-lb-v1": ("http-lb", "v1"), "http-lb-v2": ("http-lb", "v2")}
PATIENCE_S = 30.0


def cpu_ms(pid: int) -> float:
    """Return the processor time of all threads of a process, exact to the microsecond."""
    return sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def copied(chain: _chain.Chain, folder: Path, *, port: int) -> None:
    """Make a workload's folder of the model's, for an ambassador that answers on `port`."""
    source = chain.directory / "w" / MODEL
    folder.mkdir()
    shutil.copytree(source / "conf", folder / "conf", symlinks=True)
    text = (source / AMBASSADOR_FILE).read_text(encoding="utf-8").replace(str(source), str(folder))
    settings = json.loads(text) | {"control_port": port}
    (folder / AMBASSADOR_FILE).write_text(json.dumps(settings), encoding="utf-8")


async def copies(folders: list[tuple[Path, int]]) -> dict[str, list[float]]:
    """Start a warm process, and one ambassador after the other; return ms of each step."""
    found: dict[str, list[float]] = {
        "warm process, started to first copy": [],
        "warm process, processor time": [],
        "ambassador, order to answering": [],
        "ambassador, processor time": [],
    }
    for number in range(0, len(folders), 5):
        began = time.monotonic()
        warm = Warm(COMMAND)
        await warm.start()
        # Something that ends at once.
        first = await _spawn(warm, "--version", Path("/"))
        found["warm process, started to first copy"].append((time.monotonic() - began) * 1000)
        await first.wait()
        found["warm process, processor time"].append(cpu_ms(_youngest_child()))
        for folder, port in folders[number : number + 5]:
            began = time.monotonic()
            child = await _spawn(warm, "ambassador", folder)
            await _accepting(port)
            found["ambassador, order to answering"].append((time.monotonic() - began) * 1000)
            found["ambassador, processor time"].append(cpu_ms(child.pid))
            child.send_signal(signal.SIGTERM)
            await child.wait()
        await warm.aclose()
    return found


def _youngest_child() -> int:
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()[-1])


async def _spawn(warm: Warm, command: str, folder: Path) -> Child:
    argv = [command, str(folder)] if folder.name else [command]
    return await warm.spawn(argv, network=None, directory=str(folder), environment={})


async def _accepting(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.002)
    raise RuntimeError(f"nothing listens on port {port} after {PATIENCE_S:.0f} s")


def killed(chain: _chain.Chain, workload: str) -> float:
    """Kill an ambassador; return ms until it answers a call again."""
    function, version = VERSIONS.get(workload, (workload, ""))
    (before,) = _ambassadors(chain, workload)
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    _until(lambda: before not in (found := _ambassadors(chain, workload)) and bool(found))
    while True:
        try:
            chain.control(function, "Get", version=version)
            return (time.monotonic() - began) * 1000
        except RuntimeError:
            if time.monotonic() - began > PATIENCE_S:
                raise
            time.sleep(0.005)


def _ambassadors(chain: _chain.Chain, workload: str) -> list[int]:
    return [
        one.pid
        for one in _processes.of_chain(chain.node)
        if one.workload == workload and one.component == _processes.AMBASSADOR
    ]


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError("an ambassador that was killed did not come back")
        time.sleep(0.005)


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    times = 1 if quick else 5
    with _chain.up() as chain, _chain.scratch() as folder:
        again = [killed(chain, workload) for _ in range(1 if quick else 3) for workload in KILLED]
        folders = [(folder / str(number), _chain.free_port()) for number in range(times * 5)]
        for place, port in folders:
            copied(chain, place, port=port)
        found = asyncio.run(copies(folders))
    found["ambassador, killed to answering again"] = again
    spreads = {name: _report.spread(values) for name, values in found.items()}
    _report.table(
        "Ambassadors",
        ("ms", "median", "least", "most", "times"),
        [
            (name, *(_report.number(value) for value in (one.median, one.least, one.most)), str(one.count))
            for name, one in spreads.items()
        ],
        notes=("killed to answering again includes the 100 ms that whatever died waits before it is started again",),
    )
    _report.keep("ambassadors", {"ms": spreads, "rounds": found}, quick=quick)


if __name__ == "__main__":
    main()

"""What a running chain reaches beyond its network: the names that functions find, and the ways out behind them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clover.errors import HostError, Problem
from clover.kit import files
from clover.runtime.local import network, way_out
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.local.way_out import CONTROL, WAYS, Way
from clover.runtime.plan import Plan, ProcessPlan
from clover.runtime.status import ProcessStatus, State, WorkloadStatus

FOLDER, PROCESS = "out", "way-out"
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """An endpoint that a connection was not made to."""

    socket: str
    """The way's."""
    words: str
    """`api.example.com:443: ...`."""


class Outside:
    """Names and ways, changed while the chain runs; there is no process before the first way."""

    def __init__(
        self,
        plan: Plan,
        *,
        tasks: asyncio.TaskGroup,
        status: WorkloadStatus,
        unreached: Callable[[Sequence[Unreached]], None],
        restarted: Callable[[str, str], None],
    ) -> None:
        """
        Start nothing yet.

        `unreached` gets what the way out says of connections that it could not make, `restarted` how it died; it is a
        companion of the gateway, whose status is given.
        """
        self._plan = plan
        self._tasks = tasks
        self._status = status
        self._unreached = unreached
        self._restarted = restarted
        self.folder = Path(plan.directory, FOLDER)
        """Where the ways' sockets are."""
        self._names: Mapping[str, str] = {}
        self._ways: Mapping[str, Way] = {}
        self._supervisor: Supervisor | None = None
        self._running: asyncio.Task[None] | None = None

    async def reach(self, names: Mapping[str, str], ways: Mapping[str, Way]) -> None:
        """Let functions find exactly these names, and proxies reach exactly these ways. Raises HostError."""
        if dict(ways) != dict(self._ways):
            # Should this fail, any of them may be there.
            self._ways = {**self._ways, **ways}
            await self._follow(ways)
            self._ways = dict(ways)
        if dict(names) != dict(self._names):
            _rewrite(Path(self._plan.directory, "hosts"), network.hosts_file(self._plan, names))
            self._names = dict(names)

    async def aclose(self) -> None:
        """Close all ways."""
        if self._supervisor is not None and self._running is not None:
            await self._supervisor.stop()
            self._running.cancel()

    async def _follow(self, ways: Mapping[str, Way]) -> None:
        owner = next(workload.owner for workload in self._plan.workloads if workload.gateway)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        files.write(self.folder / WAYS, way_out.ways_text(ways))
        if owner:
            for path in (self.folder, self.folder / WAYS):
                shutil.chown(path, owner)
        if self._supervisor is None:
            self._start(owner)
        try:
            async with asyncio.timeout(ANSWER_S):
                words = await self._say()
        except TimeoutError:
            status = self._supervisor.status if self._supervisor else ProcessStatus()
            words = f"it does not answer within {ANSWER_S:.0f} s: {status.last_exit or 'it is silent'}"
        if words:
            raise HostError(Problem(code="CLV4320", where="way out of the chain", what=words, hint="clover doctor"))

    def _start(self, owner: str) -> None:
        gateway = next(workload for workload in self._plan.workloads if workload.gateway)
        # It is not waited for: the gateway serves without it, as it did before the first way.
        own = self._status.companions.setdefault(PROCESS, ProcessStatus(state=State.READY))
        self._supervisor = Supervisor(
            gateway,
            ProcessPlan(
                name=PROCESS,
                argv=(sys.executable, "-m", "clover.runtime.local.way_out", str(self.folder), owner),
                ready_unix=str(self.folder / CONTROL),
                stop_timeout_s=2.0,
            ),
            status=own,
            network=None,
            output=self._heard,
            changed=lambda: None,
            # A policy can name an endpoint at any time: what becomes of its way must not end the chain.
            vital=False,
            restarted=self._restarted,
        )
        self._running = self._tasks.create_task(self._supervisor.run(), name="way out")

    def _heard(self, lines: bytes) -> None:
        if failures := unreached_in(lines, self._ways):
            self._unreached(failures)

    async def _say(self) -> str:
        """Have the process read its file again; return what it says against it. Between two lives it is waited for."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self.folder / CONTROL)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                if answer := await reader.readline():
                    return str(json.loads(answer))
            finally:
                writer.close()


def unreached_in(lines: bytes, ways: Mapping[str, Way]) -> list[Unreached]:
    """Return the failures among what the way out printed, each with the ways that it may be about."""
    found = []
    for line in lines.decode("utf-8", "replace").splitlines():
        endpoint, separator, _ = line.partition(": ")
        host, _, port = endpoint.rpartition(":")
        if separator and port.isdigit():
            found += [Unreached(socket=path, words=line) for path, way in ways.items() if _may_be(way, host, port)]
    return found


def _may_be(way: Way, host: str, port: str) -> bool:
    named = host == way.host or (way.host.startswith("*") and host.endswith(way.host[1:]))
    return named and port == str(way.port)


def _rewrite(path: Path, text: str) -> None:
    """Replace the content of a file that is mounted elsewhere, where another file would not be seen."""
    content = text.encode()
    handle = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(handle, content, 0)
        os.ftruncate(handle, len(content))
    finally:
        os.close(handle)

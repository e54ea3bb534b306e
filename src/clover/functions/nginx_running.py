"""A running nginx, as its ambassador reaches it: a signal to its master, and a status page on loopback.

A reload of nginx says nothing to whoever asks for it. So its configuration has a server of its own that tells the
generation and the worker that answers (see `nginx_program.conf.j2`), and the kernel's table of processes tells which
workers still accept connections: nginx renames those that it has asked to leave. Both together are the proof that a
change is in force for every connection that comes from now on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from clover.functions.driver import STATUS_PORT, EngineDownError, EngineError, How, Settings

CONFIRM_S = 10.0
"""How long a reload may take: with the whole Core Rule Set it is a third of a second on an idle machine."""
IN_A_ROW = 3
"""So many new connections, one after the other, are answered by the new generation before it counts as in force."""
LEAVE_S = 1.0
"""How long workers that go may at most ask their clients to close connections, before they are told to go.

At the end they close the connections that are left without looking whether a request is on its way there; it is lost
unless it may be sent twice. nginx 1.22 has no setting against that (`keepalive_min_timeout` is of 1.27), so it is best
that none is left. Where nobody sends requests nothing can be lost, and nobody waits."""
_LEAVE_PAUSE_S = 0.1
_LEAVING = "leaving"
_PAUSE_S = 0.02
_ANSWER_S = 2.0
_MOST_BYTES = 64 * 1024
_MOST_WORDS = 2000
_IN_FORCE = re.compile(r"generation (\d+) worker (\d+)\n", re.ASCII)
_WORKER = "nginx: worker process"
_ACCESS = b'{"log":"access"'
# In a rootless namespace there are no groups to set: nginx says so, and goes on.
_EMERGENCY = re.compile(rb" \[emerg\] (?!\d+#\d+: initgroups\()")
_ANYTHING = re.compile(rb".")
_COUNTERS = re.compile(
    r"Active connections: (?P<connections_active>\d+) \n"
    r"server accepts handled requests\n"
    r" (?P<connections_accepted_total>\d+) (?P<connections_handled_total>\d+) (?P<requests_total>\d+) \n"
    r"Reading: (?P<connections_reading>\d+) Writing: (?P<connections_writing>\d+)"
    r" Waiting: (?P<connections_waiting>\d+) \n",
    re.ASCII,
)


@dataclass(slots=True, kw_only=True)
class NginxRunning:
    """Changes an nginx by a graceful reload, whatever its role."""

    directory: str
    """The workload's folder, which is the nginx's prefix."""
    status_port: int = STATUS_PORT
    _said_before: int = field(default=0, init=False)
    """How long the log was when the last reload was asked for."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the way to the nginx of a workload."""
        return cls(directory=settings.directory, status_port=settings.status_port)

    async def change(self, before: Settings, after: Settings) -> How:
        """
        Tell the master to read `conf/current` again. Raises EngineDownError.

        Workers of the generation that goes ask their clients to close connections from here on: see LEAVE_S.
        """
        self._said_before = _size(self._log)
        with self._master() as master:
            _say_whether_it_leaves(after, False)
            if before.generation != after.generation:
                _say_whether_it_leaves(before, True)
            await self._wait_until_clients_have_left()
            signal.pidfd_send_signal(master.descriptor, signal.SIGHUP)
        return How.RELOAD

    async def confirm(self, wanted: Settings, how: How) -> None:
        """Return once every worker that accepts connections works by `wanted`. Raises EngineError."""
        del how
        try:
            async with asyncio.timeout(CONFIRM_S):
                while True:
                    if await self._is_in_force(wanted.generation):
                        return
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            said = self._words(_ANYTHING)
            text = f"nginx does not work by generation {wanted.generation} after {CONFIRM_S:g} s"
            raise EngineError(f"{text}; it says: {said}" if said else text) from None

    async def statistics(self) -> dict[str, float]:
        """Return the counters of all workers since nginx was started; asking is counted, too."""
        text = await self._ask("/status")
        counters = _COUNTERS.fullmatch(text)
        if counters is None:
            raise EngineError(f"nginx's status page says {text[:200]!r} instead of its counters")
        return {name: float(value) for name, value in counters.groupdict().items()}

    async def _wait_until_clients_have_left(self) -> None:
        with contextlib.suppress(EngineError, TimeoutError):  # a mute nginx is found out when the change is confirmed
            async with asyncio.timeout(LEAVE_S):
                before = await self.statistics()
                while before["connections_waiting"]:
                    await asyncio.sleep(_LEAVE_PAUSE_S)
                    after = await self.statistics()
                    if after["requests_total"] - before["requests_total"] <= 1:  # nobody but us
                        return
                    before = after

    @property
    def _log(self) -> Path:
        return Path(self.directory, "logs", "engine.log")

    async def _is_in_force(self, generation: int) -> bool:
        if refused := self._words(_EMERGENCY):
            raise EngineError(refused)
        workers = set()
        for _ in range(IN_A_ROW):
            answer = await self._answer()
            if answer is None or answer[0] != generation:
                return False
            workers.add(answer[1])
        with self._master() as master:
            return _accepting(master.pid) == workers

    async def _answer(self) -> tuple[int, int] | None:
        """Return the generation and the worker that a new connection meets; None: nobody answers yet, or any more."""
        with self._master():
            try:
                match = _IN_FORCE.fullmatch(await self._ask("/generation"))
            except EngineError:
                return None
        return (int(match[1]), int(match[2])) if match else None

    async def _ask(self, path: str) -> str:
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.status_port)
                try:
                    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                    answer = await reader.read()
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except TimeoutError:
            raise EngineError(f"nginx's status page does not answer within {_ANSWER_S:g} s") from None
        except OSError as failure:
            raise EngineDownError(f"nginx's status page cannot be reached: {failure.strerror or failure}") from None
        return answer.partition(b"\r\n\r\n")[2].decode("ascii", "replace")

    @contextlib.contextmanager
    def _master(self) -> Iterator[_Master]:
        """Hold on to the master: what is sent to it can reach no other process that gets its number later."""
        try:
            pid = int(Path(self.directory, "nginx.pid").read_text(encoding="ascii"))
            descriptor = os.pidfd_open(pid)
        except (OSError, ValueError):
            raise EngineDownError("nginx does not run") from None
        try:
            title = _title(pid)
            if not title.startswith("nginx") or f" -p {self.directory} -c " not in title:
                raise EngineDownError(f"nginx does not run: its process number {pid} belongs to another program")
            yield _Master(pid=pid, descriptor=descriptor)
        except ProcessLookupError:
            raise EngineDownError("nginx does not run") from None
        finally:
            os.close(descriptor)

    def _words(self, wanted: re.Pattern[bytes]) -> str:
        """Return the lines about something else than requests that were printed since the last reload."""
        try:
            with self._log.open("rb") as log:
                log.seek(min(self._said_before, _size(self._log)))
                lines = log.read(_MOST_BYTES).splitlines()
        except OSError:
            return ""
        words = [line for line in lines if not line.startswith(_ACCESS) and wanted.search(line)]
        return b"; ".join(words).decode("utf-8", "replace")[:_MOST_WORDS]


def _say_whether_it_leaves(generation: Settings, leaves: bool) -> None:
    file = Path(generation.folder, _LEAVING)
    with contextlib.suppress(OSError):  # then it cannot be said, and the change goes on without
        if leaves:
            file.touch()
        else:
            file.unlink(missing_ok=True)


class _Master(NamedTuple):
    pid: int
    descriptor: int


def _accepting(master: int) -> set[int]:
    """Return the workers that were not asked to leave."""
    return {pid for pid in _children(master) if _title(pid) == _WORKER}


def _children(parent: int) -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[1]) == parent:
                    yield int(entry.name)


def _title(pid: int) -> str:
    """Return how a process calls itself; '' when it is gone."""
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").rstrip().decode("utf-8", "surrogateescape")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

"""
The door of the control plane: a sidecar comes in as itself, and nobody comes in as another.

All processes of one user may connect to the same Unix socket, and a name that a client gives itself proves nothing. So
each workload has an entrance of its own, a name in its own network that no file can take the place of, and the kernel
is asked who comes there: it must be the very process that was started as the workload's sidecar. There is no secret
that could be read somewhere. What comes through is carried on to the control plane, whose own socket has no name any
more, from an address that tells whose connection it is.

It does not hold against whoever may look into the node or a sidecar (`CAP_SYS_PTRACE`), which functions may not
(`ProcessPlan.confined`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

_SO_PEERPIDFD = 77
"""Linux 6.5 and newer; Python has no name for it."""
_CREDENTIALS = struct.Struct("3i")
_BYTES = 65536
_BREATH_S = 0.1
"""After a connection that could not be accepted or judged, because there are too many open files for example."""
QUIET_S = 10.0
"""So long is nothing said after a refusal: who tries in a loop does not fill the log."""


class Door:
    """Lets sidecars in to the control plane."""

    def __init__(self, *, say: Callable[[str], None] | None = None) -> None:
        """`say` gets a line about who was refused; None: standard error, which is the node's log."""
        self.peers: dict[str, str] = {}
        """Address of a connection to the control plane, as gRPC writes it → the workload whose sidecar it is."""
        self._say = say or _to_standard_error
        self._sidecars: dict[str, tuple[int, int]] = {}
        """Workload → process id of its living sidecar, and a descriptor of that process."""
        self._news = asyncio.Event()
        self._quiet_until = 0.0
        self._unsaid = 0

    def expect(self, workload: str, pid: int) -> None:
        """Take a child that was started a moment ago for the sidecar of a workload, for as long as it lives."""
        self._forget(workload)
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            self._sidecars[workload] = (pid, handle)
            asyncio.get_running_loop().add_reader(handle, self._forget, workload)
            self._news.set()
            self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def opened(
        self, control_plane: Path, entrances: Mapping[str, socket.socket], *, tasks: asyncio.TaskGroup
    ) -> AsyncIterator[None]:
        """
        Take the control plane's socket out of everybody's reach, and let sidecars in at their workloads' entrances.

        The entrances are listening sockets; they are closed with the block.
        """
        way = os.open(control_plane, os.O_PATH | os.O_CLOEXEC)
        control_plane.unlink()  # noqa: ASYNC240 - one system call; `way` still leads there
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, way)
            for workload, entrance in entrances.items():
                stack.enter_context(entrance)
                stack.callback(self._forget, workload)
            porters = [
                tasks.create_task(self._attend(workload, entrance, way), name=f"door of {workload}")
                for workload, entrance in entrances.items()
            ]
            try:
                yield
            finally:
                for porter in porters:
                    porter.cancel()
                await asyncio.wait(porters)

    async def _attend(self, workload: str, entrance: socket.socket, way: int) -> None:
        """Ask whoever comes to one entrance who it is, for ever."""
        entrance.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as carriers:
            while True:
                try:
                    theirs, _ = await loop.sock_accept(entrance)
                except OSError:
                    await asyncio.sleep(_BREATH_S)
                    continue
                with contextlib.ExitStack() as held:
                    held.enter_context(theirs)
                    if await self._may_enter(workload, theirs):
                        held.pop_all()
                        carriers.create_task(self._carry(workload, theirs, way), name=f"stream of {workload}")

    async def _may_enter(self, workload: str, theirs: socket.socket) -> bool:
        """Tell whether a connection is that of the workload's sidecar, which may be here before its start is known."""
        while workload not in self._sidecars:
            await self._news.wait()
        try:
            pid = _peer(theirs)
        except OSError:
            await asyncio.sleep(_BREATH_S)
            return False
        if not self._is_sidecar(workload, pid):
            self._refuse(workload, pid)
            return False
        return True

    def _is_sidecar(self, workload: str, pid: int) -> bool:
        """
        Tell whether the process that is called `pid` now is the sidecar.

        It is, if the sidecar has that number and has not ended: no two processes have one number at one time.
        """
        known, handle = self._sidecars[workload]
        # Unlike `select`, it takes descriptors of any number.
        end = select.poll()
        end.register(handle, select.POLLIN)
        return pid == known and not end.poll(0)

    async def _carry(self, workload: str, theirs: socket.socket, way: int) -> None:
        """Carry bytes between a sidecar and the control plane until either of them closes the connection."""
        with theirs:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
                    ours.setblocking(False)
                    # The kernel finds a name that nobody has, and nobody else gets it while this socket is open.
                    ours.bind("")
                    address = f"unix-abstract:{ours.getsockname()[1:].decode()}"
                    self.peers[address] = workload
                    try:
                        await asyncio.get_running_loop().sock_connect(ours, f"/proc/self/fd/{way}")
                        async with asyncio.TaskGroup() as directions:
                            directions.create_task(_pass_on(theirs, ours))
                            directions.create_task(_pass_on(ours, theirs))
                    finally:
                        del self.peers[address]
            except* OSError:
                pass  # This is how connections end; a sidecar makes another.

    def _refuse(self, workload: str, pid: int) -> None:
        self._unsaid += 1
        now = time.monotonic()
        if now < self._quiet_until:
            return
        times = f" ({self._unsaid} times since the last word about this)" if self._unsaid > 1 else ""
        self._say(
            f"control plane: {_called(pid)} came in the place of the sidecar of {workload!r}, and was sent away"
            f"{times} [CLV4190]"
        )
        self._quiet_until, self._unsaid = now + QUIET_S, 0

    def _forget(self, workload: str) -> None:
        known = self._sidecars.pop(workload, None)
        if known is not None:
            asyncio.get_running_loop().remove_reader(known[1])
            os.close(known[1])


def _peer(connection: socket.socket) -> int:
    """
    Return the process id of who made a connection, if it still lives; 0 if it does not, or is none of ours.

    Raises OSError if there are too many open files to ask.
    """
    try:
        handle = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as failure:
        if failure.errno in (errno.EMFILE, errno.ENFILE):
            raise
        if failure.errno != errno.ENOPROTOOPT:
            return 0
        # An older kernel remembers the number alone, which another process may have by now.
        given = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(given)[0]
        return pid
    try:
        text = Path(f"/proc/self/fdinfo/{handle}").read_text(encoding="ascii")
    finally:
        os.close(handle)
    (number,) = (line.split()[1] for line in text.splitlines() if line.startswith("Pid:"))
    return max(0, int(number))


def _called(pid: int) -> str:
    """Return what to call a process in a message."""
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text(encoding='utf-8', errors='replace').strip()!r})"
    except OSError:
        return "a process that has ended or is outside of the chain"


async def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until the source ends. Raises OSError, always."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _BYTES):
        await loop.sock_sendall(target, data)
    raise ConnectionResetError("closed by its other end")


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

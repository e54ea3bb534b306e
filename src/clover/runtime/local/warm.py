"""Starting many Python processes at the price of one: a warm process imports everything once, and then forks.

An ambassador for each of ten workloads would import the same modules ten times: three seconds of processor time and
400 MB. A copy of a process that has imported them costs 15 ms, and half of the memory: copies share what they do not
change.

The warm process has one thread and runs nothing of its own: it takes orders on a socket, forks, and tells how each copy
ended. A copy becomes the process that it is to be: its own session, network namespace, folder, output and arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from clover.runtime.local import namespaces

MESSAGE_BYTES = 65536
_BROKEN = 70
"""Exit code of a copy that fails in a way that its own program does not catch."""


# ---- in the warm process


def serve(orders: socket.socket, run: Callable[[list[str]], int]) -> None:
    """Fork for each order until the other end is closed; `run` gets the arguments, in the copy."""
    children: dict[int, int] = {}
    ordered = orders.fileno()
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What exists now is never looked at again by the collector: copies would have to copy what it touches.
    gc.collect()
    gc.freeze()
    while True:
        readable, _, _ = select.select([ordered, wake], [], [])
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _tell_ended(orders, children)
        if ordered in readable:
            text, descriptors, _, _ = socket.recv_fds(orders, MESSAGE_BYTES, 1)
            if not text:
                return
            order = json.loads(text)
            pid = os.fork()
            if pid == 0:
                orders.close()
                _become(order, descriptors[0], run)
            os.close(descriptors[0])
            children[pid] = order["id"]
            orders.send(json.dumps({"id": order["id"], "pid": pid}).encode())


def _tell_ended(orders: socket.socket, children: dict[int, int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if (number := children.pop(pid, None)) is not None:
            orders.send(json.dumps({"id": number, "code": os.waitstatus_to_exitcode(status)}).encode())


def _become(order: Mapping[str, Any], output: int, run: Callable[[list[str]], int]) -> NoReturn:
    """Be the process that was ordered, to its end."""
    code = _BROKEN
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
            os.dup2(source, target)
        os.close(output)
        # The old streams remember what the warm process wrote to, whether one may seek in it for example.
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
            for number in (1, 2)
        )
        if order["network"]:
            namespaces.enter_network(Path(order["network"]))
        os.chdir(order["directory"])
        os.environ.update(order["environment"])
        code = run(order["argv"])
    except BaseException:  # noqa: BLE001 - the edge of a process: there is nobody above
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


# ---- in the node


class Child:
    """A copy; has as much of `asyncio.subprocess.Process` as a supervisor needs."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, code: asyncio.Future[int]) -> None:
        self.pid = pid
        self.stdout = stdout
        self._code = code

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._code.result() if self._code.done() else None

    def send_signal(self, number: int) -> None:
        """Send it a signal. Raises ProcessLookupError when it has ended."""
        if self._code.done():
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait for its end, and return how it ended."""
        return await asyncio.shield(self._code)


class Warm:
    """The warm process as the node sees it; started with the first order, and again when it is found dead."""

    def __init__(self, command: Sequence[str]) -> None:
        """`command` starts it; the number of its socket's descriptor is added at the end."""
        self._command = tuple(command)
        self._socket: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = iter(range(1, sys.maxsize))
        self._started: dict[int, asyncio.Future[int]] = {}
        self._codes: dict[int, asyncio.Future[int]] = {}
        self._pids: dict[int, int] = {}
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Start it, so that it has imported everything by the time of the first order."""
        async with self._lock:
            if self._socket is not None:
                return
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Copies run a dozen threads that allocate little: one arena each would cost more than it saves.
                    env={"MALLOC_ARENA_MAX": "1", **os.environ},
                )
            self._socket = ours
            asyncio.get_running_loop().add_reader(ours, self._hear)

    async def spawn(
        self, argv: Sequence[str], *, network: Path | None, directory: str, environment: Mapping[str, str]
    ) -> Child:
        """Return a copy that runs `argv`. Raises OSError when the warm process dies meanwhile."""
        await self.start()
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        started: asyncio.Future[int] = loop.create_future()
        code: asyncio.Future[int] = loop.create_future()
        self._started[number], self._codes[number] = started, code
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            order = {
                "id": number,
                "argv": list(argv),
                "network": str(network or ""),
                "directory": directory,
                "environment": dict(environment),
            }
            if self._socket is None:
                raise ConnectionResetError("the warm process has ended")
            socket.send_fds(self._socket, [json.dumps(order).encode()], [write])
        except BaseException:
            os.close(read)
            del self._started[number], self._codes[number]
            raise
        finally:
            os.close(write)
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0))
        return Child(await started, reader, code)

    async def aclose(self) -> None:
        """End the warm process; its copies go on."""
        process = self._process
        self._lost()
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _hear(self) -> None:
        while self._socket is not None:
            try:
                text = self._socket.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                text = b""
            if not text:
                self._lost()
                return
            word = json.loads(text)
            number = word["id"]
            if "pid" in word:
                self._pids[number] = word["pid"]
                _settle(self._started.pop(number), word["pid"])
            else:
                self._pids.pop(number, None)
                _settle(self._codes.pop(number), word["code"])

    def _lost(self) -> None:
        """
        Forget the warm process, and answer everybody who waits for it.

        Copies that live on are this node's children from now on, because it is the init of their namespace: each is
        asked how it ended when it has.
        """
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for started in self._started.values():
            if not started.done():
                started.set_exception(ConnectionResetError("the warm process has ended"))
        for number in self._started:
            self._codes.pop(number, None)
        self._started.clear()
        for number, code in self._codes.items():
            _watch(self._pids.pop(number), code)
        self._codes.clear()


def _watch(pid: int, code: asyncio.Future[int]) -> None:
    """Settle `code` when a process ends that is our child only by adoption."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        _settle(code, _adopted(pid))
        return

    def ended() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        _settle(code, _adopted(pid))

    loop.add_reader(handle, ended)


def _adopted(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, os.WNOHANG)[1])
    except ChildProcessError:
        return -signal.SIGKILL


def _settle(future: asyncio.Future[int], value: int) -> None:
    if not future.done():
        future.set_result(value)

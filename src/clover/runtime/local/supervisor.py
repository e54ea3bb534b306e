"""One process of a workload, kept running: checked, started, waited for, and started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from clover.errors import FunctionError, MeshError, Problem
from clover.kit.requirements import SYSTEM_PATH
from clover.runtime.local import listening, namespaces
from clover.runtime.local.logs import Log
from clover.runtime.local.warm import Child, Warm
from clover.runtime.plan import INBOUND_PORT, OUTBOUND_PORT, ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus, State

READY_TIMEOUT_S = 30.0
CHECK_TIMEOUT_S = 30.0
POLL_S, SLOWER, MOST_POLL_S = 0.02, 1.05, 0.5
"""How often readiness is looked at: first, by which factor less often each time, and at least."""
CONNECT_TIMEOUT_S = 1.0
FIRST_BACKOFF_S, MOST_BACKOFF_S = 0.1, 5.0
SIDECAR_PORTS = (OUTBOUND_PORT, INBOUND_PORT)
STEADY_S = 10.0
"""A process that ran for longer than this starts again with the shortest back-off."""


_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_KEPT_FROM = "-sys_ptrace,-sys_admin"
"""Looking into processes (of the same user, too: the kernel then asks who may do more), and mounts and namespaces."""
CONFINED = ("setpriv", "--bounding-set", _KEPT_FROM, "--inh-caps", _KEPT_FROM, "--")
"""Put before the command line of a process that is `confined`."""


class Supervisor:
    """Keeps one process of one workload running for as long as `run` runs."""

    def __init__(
        self,
        workload: WorkloadPlan,
        process: ProcessPlan,
        *,
        status: ProcessStatus,
        network: Path | None,
        output: Callable[[bytes], None],
        changed: Callable[[], None],
        inherited: tuple[int, ...] = (),
        vital: bool = True,
        warm: Warm | None = None,
        started: Callable[[int], None] = lambda _: None,
        restarted: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        self._workload = workload
        self._process = process
        self._network = network
        """Network namespace that it runs in; None: the node's own."""
        self._output = output
        self._changed = changed
        self._inherited = inherited
        """Descriptors of ours that the process gets."""
        self._vital = vital
        """False: it is started again even if it was never ready, because the chain is up without it."""
        self._warm = warm
        """Starts the process if its plan says so."""
        self._started_as = started
        """Gets the process id of each life as soon as it has begun."""
        self._restarted = restarted
        """Gets the `label` of a process that died and is started again, and how it ended."""
        self._log = Log(Path(workload.directory, "logs", f"{process.name}.log"))
        self._child: asyncio.subprocess.Process | Child | None = None
        self._stopping = False
        self.status = status
        self.first_ready = asyncio.Event()

    @property
    def label(self) -> str:
        """Its name in progress messages: `http-lb-v1 haproxy`, `http-lb-v1 sidecar`."""
        return f"{self._workload.name} {self._what}"

    @property
    def _what(self) -> str:
        return self._workload.engine if self._process.name == "engine" else self._process.name

    async def check(self) -> None:
        """Let the engine check its own files. Raises FunctionError with the engine's words if it refuses them."""
        if not self._process.check:
            return
        child = await asyncio.create_subprocess_exec(
            *self._inside(self._process.check),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._working_directory(),
            env=self._environment(),
        )
        try:
            words, _ = await asyncio.wait_for(child.communicate(), CHECK_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            await child.wait()
            words = f"no answer within {CHECK_TIMEOUT_S:.0f} s".encode()
        if child.returncode != 0:
            raise FunctionError(
                self._problem(
                    code="CLV3101",
                    what=f"{self._workload.engine} refuses the configuration of {self._workload.name!r}",
                    words=words.decode("utf-8", "replace"),
                )
            )

    async def run(self) -> None:
        """Keep the process running. Raises FunctionError or MeshError if a vital one dies before it was ever ready."""
        backoff_s = FIRST_BACKOFF_S
        loop = asyncio.get_running_loop()
        try:
            while not self._stopping:
                started = loop.time()
                ending = await self._life()
                if self._stopping:
                    return
                if self._vital and not self.first_ready.is_set():
                    raise self._failure("ended before it was ready", ending)
                if loop.time() - started > STEADY_S:
                    backoff_s = FIRST_BACKOFF_S
                self.status.restarts += 1
                self.status.last_exit = f"{ending}\n{self._log.last_lines()}".strip()
                self._restarted(self.label, ending)
                self._become(State.RESTARTING)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, MOST_BACKOFF_S)
        finally:
            self._become(State.STOPPED)
            self._log.close()

    async def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        self._stopping = True
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.Signals[self._process.stop_signal])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_exit_of(child.pid), self._process.stop_timeout_s)
        _kill_group(child.pid)

    async def _life(self) -> str:
        """Run the process once; return how it ended."""
        try:
            child = self._child = await self._started()
        except OSError as failure:
            return f"could not be started: {failure}"
        self.status.pid = child.pid
        self._started_as(child.pid)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(child), name=f"{self._workload.name} output")
                waiting = tasks.create_task(self._until_ready(child), name=f"{self._workload.name} ready")
                await _exit_of(child.pid)
                waiting.cancel()
                # Workers whose master was killed live on, and hold its port and its output: the whole group goes.
                _kill_group(child.pid)
                await reading
                code = await child.wait()
        finally:
            _kill_group(child.pid)
            self.status.pid = 0
        # Only now: before, the process itself would be collected, too, and asyncio looks for it in vain.
        _reap_group(child.pid)
        return _ending(code)

    async def _started(self) -> asyncio.subprocess.Process | Child:
        if self._process.warm and self._warm is not None:
            return await self._warm.spawn(
                self._process.argv,
                network=self._network,
                directory=self._working_directory(),
                environment=self._process.environment,
            )
        with _reading(self._process.input) as stdin:
            return await asyncio.create_subprocess_exec(
                *self._inside(self._process.argv),
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._working_directory(),
                env=self._environment(),
                start_new_session=True,
                pass_fds=self._inherited,
            )

    async def _read(self, child: asyncio.subprocess.Process | Child) -> None:
        while child.stdout and (chunk := await child.stdout.read(65536)):
            if lines := self._log.write(chunk):
                self._output(lines)
        if lines := self._log.flush():
            self._output(lines)

    async def _until_ready(self, child: asyncio.subprocess.Process | Child) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_TIMEOUT_S
        pause_s = POLL_S
        while not await self._accepts():
            if loop.time() > deadline:
                if not self.first_ready.is_set():
                    raise self._failure(f"was not ready within {READY_TIMEOUT_S:.0f} s", self._who_listens(child.pid))
                _kill_group(child.pid)  # it hangs: its next life may go better
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * SLOWER, MOST_POLL_S)
        self._become(State.READY)
        self.first_ready.set()

    async def _accepts(self) -> bool:
        """Tell whether the process accepts a connection where its readiness is measured."""
        if self._process.ready_unix is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target: str | tuple[str, int] = self._process.ready_unix
        elif self._process.ready_tcp is not None:
            connection = namespaces.socket_in(self._network)
            # The workload's own address and not localhost: the mesh dials that one too (an engine that listens on
            # localhost only would be ready, and unreachable).
            target = (self._workload.address, self._process.ready_tcp)
        else:
            return True
        with connection:
            connection.setblocking(False)
            try:
                # A queue that is full does not refuse: it lets wait.
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await asyncio.get_running_loop().sock_connect(connection, target)
            except OSError:
                return False
        return True

    def _who_listens(self, pid: int) -> str:
        wanted = self._process.ready_tcp
        if wanted is None:
            return ""
        # Sidecar and ambassador listen in the same network, and are not what somebody looks for.
        companions = (one.ready_tcp for one in self._workload.companions if one.ready_tcp != wanted)
        own = tuple(f":{port}" for port in (*SIDECAR_PORTS, *companions) if port)
        others = [one for one in listening.listeners(pid) if not one.endswith(own)]
        found = ", ".join(others) or "nothing"
        return f"it must listen on {self._workload.address}:{wanted} or 0.0.0.0:{wanted}; listening there now: {found}"

    def _become(self, state: State) -> None:
        if self.status.state is not state:
            self.status.state = state
            self._changed()

    def _failure(self, what: str, detail: str) -> FunctionError | MeshError:
        words = "\n".join(part for part in (detail, self._log.last_lines()) if part)
        if self._process.name == "sidecar":
            return MeshError(
                self._problem(code="CLV5102", what=f"the sidecar of {self._workload.name!r} {what}", words=words)
            )
        return FunctionError(
            self._problem(
                code="CLV5101",
                what=f"{self._what} of {self._workload.name!r} {what}",
                words=words,
            )
        )

    def _problem(self, *, code: str, what: str, words: str) -> Problem:
        indented = "\n".join(f"    | {line}" for line in words.strip().splitlines()[-16:])
        return Problem(
            code=code,
            where=f"workload {self._workload.name}",
            what=f"{what}:\n{indented}\n   " if indented else what,
        )

    def _inside(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        if self._process.confined:
            argv = (*CONFINED, *argv)
        if self._network is None:
            return argv
        return ("nsenter", f"--net={self._network}", "--", *argv)

    def _working_directory(self) -> str:
        return self._process.working_directory or self._workload.directory

    def _environment(self) -> Mapping[str, str]:
        path = os.pathsep.join(filter(None, (os.environ.get("PATH"), SYSTEM_PATH)))
        return {**os.environ, "PATH": path, **self._process.environment}


@contextlib.contextmanager
def _reading(text: str) -> Iterator[int]:
    """Have a descriptor from which a child reads `text`: a file in memory that nobody can write to, not even we."""
    if not text:
        yield asyncio.subprocess.DEVNULL
        return
    handle = os.memfd_create("input", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(text.encode())
        file.flush()
        file.seek(0)
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALS)
        yield handle


async def _exit_of(pid: int) -> None:
    """
    Wait for the process itself to end.

    `Process.wait` of Python 3.11 waits for the end of its output, too, which its workers may hold open for ever.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        loop.add_reader(handle, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _reap_group(pid: int) -> None:
    """Collect the orphans of a dead process: this node is the init of their namespace, so they are its children now."""
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PGID, pid, os.WEXITED | os.WNOHANG) is not None:
            pass


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exited with {code}"

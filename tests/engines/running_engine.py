"""A real engine on loopback, for as long as a block runs, and what it prints."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from clover.functions.driver import CURRENT, Companion, Driver, EngineError, How, Process, Program, Running, Settings
from clover.functions.log import Access, parse_access
from clover.kit.requirements import SYSTEM_PATH
from clover.spec.chain import FunctionType
from clover.spec.configuration import MODELS, Backend, Configuration
from harness.ports import free_port

READY_S = LINE_S = STOP_S = 60.0
"""Patience with a busy machine: an idle one takes a fraction of a second."""


def backend(port: int, *, host: str = "127.0.0.1", weight: int = 1, state: str = "ready") -> Backend:
    """Return a backend; an address is no name of a function, so the rule for names is passed by."""
    return Backend.model_construct(host=host, port=port, weight=weight, state=state)


def backends(*ports: int) -> tuple[Backend, ...]:
    """Return backends on loopback."""
    return tuple(backend(port) for port in ports)


def settings_for(
    type_: FunctionType, directory: Path | str, *, name: str = "w", to: tuple[Backend, ...] = (), **configuration: Any
) -> Settings:
    """Return the settings of a function on ports of its own; more keywords are fields of its configuration."""
    if to:
        configuration["backends"] = to
    return Settings(
        workload=name,
        function=name,
        version="v1",
        port=free_port(),
        status_port=free_port(),
        configuration=MODELS[type_](**configuration),
        directory=str(directory),
    )


def lay_out(program: Program, settings: Settings) -> None:
    """Write one generation's files, as whoever brings it into force does; what is in force stays so."""
    directory, folder = Path(settings.directory), Path(settings.folder)
    for name in program.directories:
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    _make(folder, below=directory)
    for name, text in program.files.items():
        path = folder / name
        _make(path.parent, below=directory)
        path.write_bytes(text.encode())
        path.chmod(0o644 if name.startswith("site/") else 0o600)
    for name, content in program.links.items():
        _make((folder / name).parent, below=directory)
        (folder / name).hardlink_to(directory / content)


def turn(settings: Settings) -> None:
    """Let `conf/current` lead to the generation, in one step."""
    link, beside = Path(settings.directory, CURRENT), Path(settings.directory, "conf", "next")
    beside.symlink_to(Path(settings.folder).name)
    beside.replace(link)


def write(program: Program, settings: Settings) -> None:
    """Lay the files of the generation out that the engine is to start with."""
    lay_out(program, settings)
    turn(settings)


def _make(folder: Path, *, below: Path) -> None:
    for path in (*reversed(folder.relative_to(below).parents), folder.relative_to(below)):
        if path != Path():
            (below / path).mkdir(mode=0o711, exist_ok=True)
            (below / path).chmod(0o711)


async def change(engine: Engine, driver: Driver, configuration: Configuration, **more: object) -> How:
    """Bring the next generation into force in a running engine, as its ambassador does; raises what the engine says."""
    before = engine.settings
    after = replace(before, configuration=configuration, generation=before.generation + 1, **more)  # type: ignore[arg-type]
    program = driver.render(after)
    lay_out(program, after)
    if program.check and (result := check(program)).returncode != 0:
        raise EngineError(result.stdout)
    turn(after)
    try:
        how = await engine.way(driver).change(before, after)
        await engine.way(driver).confirm(after, how)
    except EngineError:
        turn(before)
        await engine.way(driver).confirm(before, await engine.way(driver).change(after, before))
        raise
    engine.settings = after
    return how


def environment(program: Program | None = None) -> dict[str, str]:
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    return {**os.environ, "PATH": path, **(program.process.environment if program else {})}


def pipe(owner: int | None) -> tuple[int, int]:
    """Return a pipe; an engine that opens /dev/stdout anew can only do so where the pipe is its own user's."""
    read, write_end = os.pipe()
    if owner is not None:
        os.fchown(write_end, owner, -1)
    return read, write_end


def check(program: Program, *prefix: str, output_owner: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the engine's own check of its files; all that it says is in `stdout`."""
    read, write_end = pipe(output_owner)
    with os.fdopen(read, encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [*prefix, *program.check], env=environment(), stdout=write_end, stderr=subprocess.STDOUT
        )
        os.close(write_end)
        said = output.read()
        status = process.wait(timeout=30)
        remove_shared_memory(process.pid)
        return subprocess.CompletedProcess(program.check, status, stdout=said)


def remove_shared_memory(creator: int) -> None:
    """Remove what ModSecurity leaves behind at each start; a running chain has an IPC namespace for that."""
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        _, identifier, _, _, made_by, *_ = line.split()
        if int(made_by) == creator:
            # Already marked for removal after a reload, it goes by itself when the last worker is dead.
            subprocess.run(["ipcrm", "-m", identifier], check=False, stderr=subprocess.DEVNULL)


class Engine:
    """A running engine and what it has printed."""

    def __init__(self, name: str, program: Program, settings: Settings, process: subprocess.Popen[bytes]) -> None:
        self.name, self.port, self.process = name, settings.port, process
        self.directory = Path(settings.directory)
        self.settings = settings
        """In force."""
        self.lines: list[bytes] = []
        self._program = program
        self._way: Running | None = None
        self._log = self.directory / "logs" / "engine.log"
        self._log.parent.mkdir(exist_ok=True)
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said, self._log.open("ab") as log:
                log.write(line)
                self.lines.append(line.rstrip(b"\n"))
                self._said.notify_all()

    def wait_for(self, wanted: Callable[[bytes], object], *, within_s: float = LINE_S) -> bytes:
        """Return the first line that is wanted, as soon as it is there."""

        def found() -> bytes | None:
            return next((line for line in self.lines if wanted(line)), None)

        with self._said:
            line = self._said.wait_for(found, timeout=within_s)
        assert line is not None, f"{self.name} did not print that; it printed:\n{self.text()}"
        return line

    def accesses(self, count: int, *, within_s: float = LINE_S) -> list[Access]:
        """Return the access lines, once there are at least `count`."""

        def found() -> list[Access]:
            return [entry for line in self.lines if (entry := parse_access(line))]

        with self._said:
            self._said.wait_for(lambda: len(found()) >= count, timeout=within_s)
            entries = found()
        assert len(entries) >= count, f"{self.name} logged fewer than {count} requests:\n{self.text()}"
        return entries

    def access_of(self, traceparent: str) -> Access:
        """Return the access line of the request that had this traceparent."""
        line = self.wait_for(lambda line: (entry := parse_access(line)) and entry.traceparent == traceparent)
        entry = parse_access(line)
        assert entry is not None
        return entry

    def way(self, driver: Driver) -> Running:
        """Return the one way to this engine, as its ambassador has it."""
        self._way = self._way or driver.running(self.settings)
        assert self._way is not None, f"{self.name} cannot be changed"
        return self._way

    def text(self) -> str:
        return b"\n".join(self.lines).decode("utf-8", errors="replace")

    def wait_until_it_is_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        pause = threading.Event()
        while True:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.text()}"
            with contextlib.suppress(OSError):
                connect(self._program, self.directory)
                return
            assert time.monotonic() < deadline, f"{self.name} does not accept connections:\n{self.text()}"
            pause.wait(0.005)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=STOP_S)
        remove_shared_memory(self.process.pid)
        self._reader.join(timeout=STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def connect(program: Program | Companion, directory: Path) -> None:
    """Connect to where the program says that it is ready; OSError if it is not yet."""
    if program.ready_port is not None:
        socket.create_connection(("127.0.0.1", program.ready_port), timeout=10).close()
    if isinstance(program, Program) and program.ready_socket is not None:
        folder = os.open((directory / program.ready_socket).parent, os.O_RDONLY | os.O_DIRECTORY)
        try:  # the whole path may be longer than the name of a socket can be
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"/proc/self/fd/{folder}/{Path(program.ready_socket).name}")
        finally:
            os.close(folder)


def start(process: Process, program: Program, directory: Path, *prefix: str, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*prefix, *process.argv],
        env={**environment(program), **process.environment},
        cwd=process.working_directory or directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@contextlib.contextmanager
def running(
    program: Program, settings: Settings, *prefix: str, name: str = "", output_owner: int | None = None
) -> Iterator[Engine]:
    """Run `program`, whose files are written, until the block is left; entered when it accepts connections."""
    directory = Path(settings.directory)
    read, write_end = pipe(output_owner)
    with contextlib.ExitStack() as stack:
        for companion in program.companions:
            helper = start(companion.process, program, directory, *prefix, output=write_end)
            stack.callback(helper.wait, timeout=STOP_S)
            stack.callback(os.killpg, helper.pid, signal.SIGKILL)
        process = start(program.process, program, directory, *prefix, output=write_end)
        os.close(write_end)
        process.stdout = os.fdopen(read, "rb")
        engine = Engine(name or program.process.argv[0], program, settings, process)
        try:
            engine.wait_until_it_is_ready()
            yield engine
        finally:
            stack.close()
            engine.stop()

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
from pathlib import Path

from clover.functions.driver import Program
from clover.functions.log import Access, parse_access
from clover.kit.requirements import SYSTEM_PATH

READY_S = 10.0
LINE_S = 5.0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write(program: Program, directory: Path) -> None:
    """Lay the program's files out as a backend does."""
    for name in program.directories:
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in program.files.items():
        path = directory / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644 if name.startswith("site/") else 0o600)


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
            subprocess.run(["ipcrm", "-m", identifier], check=True)


class Engine:
    """A running engine and what it has printed."""

    def __init__(self, name: str, port: int, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.name, self.port, self.directory, self.process = name, port, directory, process
        self.lines: list[bytes] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
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

        def found() -> list[Access] | None:
            entries = [entry for line in self.lines if (entry := parse_access(line))]
            return entries if len(entries) >= count else None

        with self._said:
            entries = self._said.wait_for(found, timeout=within_s)
        assert entries is not None, f"{self.name} logged fewer than {count} requests:\n{self.text()}"
        return entries

    def access_of(self, traceparent: str) -> Access:
        """Return the access line of the request that had this traceparent."""
        line = self.wait_for(lambda line: (entry := parse_access(line)) and entry.traceparent == traceparent)
        entry = parse_access(line)
        assert entry is not None
        return entry

    def text(self) -> str:
        return b"\n".join(self.lines).decode("utf-8", errors="replace")

    def wait_until_it_accepts(self) -> None:
        deadline = time.monotonic() + READY_S
        pause = threading.Event()
        while True:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.text()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < deadline, f"{self.name} does not accept connections:\n{self.text()}"
            pause.wait(0.005)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=5)
        remove_shared_memory(self.process.pid)
        self._reader.join(timeout=5)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def running(
    program: Program, directory: Path, *prefix: str, name: str = "", output_owner: int | None = None
) -> Iterator[Engine]:
    """Run `program`, whose files are written, until the block is left; entered when it accepts connections."""
    read, write_end = pipe(output_owner)
    process = subprocess.Popen(
        [*prefix, *program.process.argv],
        env=environment(program),
        cwd=program.process.working_directory or directory,
        stdin=subprocess.DEVNULL,
        stdout=write_end,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(write_end)
    process.stdout = os.fdopen(read, "rb")
    engine = Engine(name or program.process.argv[0], program.ready_port, directory, process)
    try:
        engine.wait_until_it_accepts()
        yield engine
    finally:
        engine.stop()

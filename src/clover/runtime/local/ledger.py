"""What a chain has made on the host, and whether its node still lives.

A node's processes, links, rules and mounts are in namespaces that die with it. What is left on the host is one folder;
this file says whose it is. A lock, held for as long as the node lives, tells a running chain from the remains of one
that was killed: a process id alone could belong to somebody else by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clover.kit import files


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One running chain, as other commands find it (`node.json`)."""

    chain: str
    pid: int
    """The node's process id on the host; it is process 1 of its own namespace."""
    init: int
    """The same process: what `nsenter --target` takes."""
    gateway: str
    """URL of the gateway."""
    api: str
    """Unix socket of the node's API."""
    store: str
    """Folder of the telemetry store."""
    source: str
    """The chain file that it was started from."""
    digest: str
    """Of the chain as it was started, to tell an unchanged `up` from a changed one."""
    started: float
    """Unix time."""


def digest(source: Path, name: str, port: int) -> str:
    """Return what tells one start of a chain file from another: its bytes, its name and its port."""
    return hashlib.sha256(b"\0".join((source.read_bytes(), name.encode(), str(port).encode()))).hexdigest()


def path(directory: Path) -> Path:
    """Return where the ledger of a chain's folder is."""
    return directory / "node.json"


def write(directory: Path, ledger: Ledger) -> None:
    """Publish the ledger."""
    files.write(path(directory), json.dumps(asdict(ledger), indent=1))


def read(directory: Path) -> Ledger | None:
    """Return the ledger of a chain's folder; None if there is none, or it is not one of ours."""
    try:
        return Ledger(**json.loads(path(directory).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def hold(directory: Path) -> int | None:
    """Take the chain's lock for as long as this process lives; None if a node has it."""
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def alive(directory: Path) -> bool:
    """Tell whether a node holds the chain's lock."""
    if not (directory / "lock").exists():
        return False
    handle = hold(directory)
    if handle is None:
        return True
    os.close(handle)
    return False


def stop(directory: Path, *, patience_s: float) -> bool:
    """End the chain's node, politely first, and remove its folder. Return False if there was nothing to end."""
    found = directory.exists()
    ledger = read(directory)
    if ledger and alive(directory):
        with contextlib.ExitStack() as stack:
            watched = [stack.enter_context(_process(pid)) for pid in (ledger.pid, *_starter(ledger.pid))]
            for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 10.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ledger.pid, number)
                if _gone(watched, within_s=wait_s):
                    break
    shutil.rmtree(directory, ignore_errors=True)
    return found


def _starter(pid: int) -> tuple[int, ...]:
    """Return the `unshare` that waits for the node; it ends right after it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        parent = next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))
        return (parent,) if Path(f"/proc/{parent}/comm").read_text().strip() == "unshare" else ()
    except (OSError, StopIteration):
        return ()


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int | None]:
    """Provide a descriptor that becomes readable when the process has ended; None if it has already."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _gone(watched: Sequence[int | None], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    for handle in watched:
        if handle is None:
            continue
        left = max(deadline - time.monotonic(), 0)
        if not select.select([handle], [], [], left)[0]:
            return False
    return True

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
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clover.errors import DocumentError, HostError, Problem
from clover.kit import files

POLL_S = 0.01
KILL_S = 10.0
"""How long the kernel may take to end a node that was killed, and what it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One running chain, as other commands find it (`node.json`)."""

    chain: str
    pid: int
    """The node's process id on the host, which `nsenter --target` takes; in its own namespace it is process 1."""
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
    if not is_chain(directory):
        return None
    try:
        return Ledger(**json.loads(path(directory).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_chain(directory: Path) -> bool:
    """
    Tell whether a folder is a chain's, and this user's.

    What it says is acted on (processes are ended, folders removed), so that nobody else may have put it there: in a run
    folder below /tmp, anybody can make one of the expected name.
    """
    try:
        owners = {place.lstat().st_uid for place in (directory, directory.parent)}
        return owners == {os.geteuid()} and stat.S_ISREG((directory / "lock").lstat().st_mode)
    except OSError:
        return False


def hold(directory: Path) -> int | None:
    """Take the chain's lock for as long as this process, or who is given it, lives; None if somebody has it."""
    return _locked(directory, os.O_CREAT)


def alive(directory: Path) -> bool:
    """Tell whether a chain's lock is held: by its node, or by the command that is about to start it."""
    try:
        handle = _locked(directory, 0)
    except FileNotFoundError:
        return False
    if handle is None:
        return True
    os.close(handle)
    return False


def claim(directory: Path, *, mode: int) -> int:
    """
    Make the chain's folder, without what a killed node left in it, and return its lock.

    Two commands that do this at once, or one that takes the chain down meanwhile, cannot meet: whoever has the lock
    goes on. Raises DocumentError for the others, HostError if what is there is not a chain's folder.
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir()
    if not is_chain(directory) and any(directory.iterdir()):
        raise HostError(_not_a_chain(directory))
    handle = hold(directory)
    if handle is None or not _is_lock_of(handle, directory):
        raise DocumentError(busy(directory))
    _empty(directory)
    directory.chmod(mode)
    return handle


def busy(directory: Path) -> Problem:
    """Return the problem that another command is at work on the chain."""
    return Problem(
        code="CLV5004",
        where=f"chain {directory.name}",
        what="another command is bringing it up, or taking it down, at this moment",
        hint="clover status",
    )


def stop(directory: Path, *, patience_s: float) -> bool:
    """
    End the chain's node, politely first, and remove its folder. Return False if there was nothing to end.

    Raises HostError if the folder is not a chain's, DocumentError while another command brings the chain up.
    """
    if not is_chain(directory):
        if os.path.lexists(directory):
            raise HostError(_not_a_chain(directory))
        return False
    try:
        lock = _wrested(directory, patience_s=patience_s)
    except FileNotFoundError:
        return True  # another command was quicker
    try:
        _empty(directory)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
    return True


def _wrested(directory: Path, *, patience_s: float) -> int:
    """Return the lock of a chain, whose node is ended if it has it."""
    deadline = time.monotonic() + patience_s + KILL_S
    while (lock := hold(directory)) is None:
        if ledger := read(directory):
            _end(ledger.pid, patience_s=patience_s)
        elif time.monotonic() > deadline:
            raise DocumentError(busy(directory))
        else:
            time.sleep(POLL_S)  # a node that is just being started has not written its ledger yet
    return lock


def _empty(directory: Path) -> None:
    """Remove everything but the lock, which tells whose folder it is, and goes last."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _locked(directory: Path, flags: int) -> int | None:
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _end(pid: int, *, patience_s: float) -> None:
    """End a node and its starter."""
    with contextlib.ExitStack() as stack:
        watched = [stack.enter_context(_process(one)) for one in (pid, *_starter(pid))]
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, KILL_S)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if _gone(watched, within_s=wait_s):
                return


def _is_lock_of(handle: int, directory: Path) -> bool:
    """Tell whether the lock that we have is still the folder's: a folder may be removed, and made anew, meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), (directory / "lock").lstat())
    except FileNotFoundError:
        return False


def _not_a_chain(directory: Path) -> Problem:
    return Problem(
        code="CLV2108",
        where=str(directory),
        what="this is in the place of a chain's folder, and is not one that Clover made for this user",
        hint="move it away, or set CLOVER_RUN to a folder of your own",
    )


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

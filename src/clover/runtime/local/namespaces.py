"""Linux namespaces: the few system calls that Python 3.11 has no name for.

The node lives in its own process-id and mount namespaces (and, for an ordinary user, a user namespace): when it dies,
the kernel kills every process of the chain, and with the last of them go the network namespaces, links, nftables rules
and mounts. Nothing has to be found and taken back afterwards.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 0x2, 0x4, 0x8, 0x20, 0x1000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 0x40000, 0x2

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount_proc() -> None:
    """Mount a /proc that shows this process-id namespace."""
    _checked(_libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None), "mount /proc")


def bind_mount(source: Path, target: Path) -> None:
    """Let `target` show `source`, for processes of this mount namespace only."""
    _checked(
        _libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None),
        f"bind {source} to {target}",
    )


def let_run(folder: Path) -> None:
    """
    Let programs be loaded from `folder`, for processes of this mount namespace only.

    Debian's /run does not, and Varnish loads what it compiles from its own folder. Raises OSError where the kernel
    does not let an ordinary user lift this.
    """
    bind_mount(folder, folder)
    name = os.fsencode(folder)
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV
    _checked(_libc.mount(None, name, None, flags, None), f"remount {folder}")


def leave_mount(target: Path) -> None:
    """Let the calling process see again what was at `target` before something was bound there; nobody else does."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare mount")
    _checked(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def make_network_namespaces(paths: Iterable[Path]) -> None:
    """Make an empty network namespace for each path and bind it there; the caller's own network stays as it is."""

    def make() -> None:
        for path in paths:
            path.touch(mode=0o600)
            _checked(_libc.unshare(CLONE_NEWNET), "unshare network")
            bind_mount(Path("/proc/thread-self/ns/net"), path)

    _in_thread(make)


def enter_network(network: Path) -> None:
    """Move the calling thread, and so a process that has only this one, into the network namespace at `network`."""
    with network.open("rb") as namespace:
        _checked(_libc.setns(namespace.fileno(), CLONE_NEWNET), f"enter {network}")


def socket_in(network: Path | None, family: int = socket.AF_INET) -> socket.socket:
    """Return a stream socket that lives in the network namespace at `network`; None: the caller's own."""
    if network is None:
        return socket.socket(family, socket.SOCK_STREAM)

    def make() -> socket.socket:
        enter_network(network)
        return socket.socket(family, socket.SOCK_STREAM)

    return _in_thread(make)


def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, which takes whatever namespaces it entered to its end."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 - carried over to the caller's thread, whatever it is
            failures.append(failure)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]

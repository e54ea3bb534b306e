"""What the first process of a process-id namespace owes to the others: collecting the dead whose parents are gone.

A function may leave the process group in which it was started, and so may what `clover exec` runs. When its parent
ends, such a process becomes a child of the node; when it ends itself, it stays in the process table until the node asks
for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

PAUSE_S = 5.0


async def reaping() -> None:
    """Collect orphans that have ended; runs until cancelled."""
    seen: frozenset[int] = frozenset()
    while True:
        await asyncio.sleep(PAUSE_S)
        seen = reap(seen)


def reap(seen: frozenset[int]) -> frozenset[int]:
    """
    Collect the ended children that were there last time (`seen`), and return the other ended ones.

    Who starts a child here collects it as soon as it ends, and must not find it gone. One that still lies there after a
    pause was started by nobody here.
    """
    ended = _ended_children()
    for pid in ended & seen:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return ended - seen


def _ended_children() -> frozenset[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state == b"Z" and int(parent) == os.getpid():
                found.add(int(entry.name))
    return frozenset(found)

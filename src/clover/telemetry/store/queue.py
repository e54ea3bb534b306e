"""What waits to be committed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Waiting:
    """What one sender handed over."""

    payload: bytes
    done: asyncio.Future[None] | None = None
    """Resolved when the payload is on disk; None for what nobody waits for."""
    lines: int = 0
    """How many lines of an engine it is."""

    def settle(self, failure: Exception | None) -> None:
        """Tell whoever waits for it what came of it; None: it is stored."""
        if self.done is None or self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


@dataclass(slots=True)
class Queue:
    """What waits, the oldest first."""

    items: deque[Waiting] = field(default_factory=deque)
    bytes: int = 0

    def add(self, item: Waiting) -> None:
        """Let it wait behind the others."""
        self.items.append(item)
        self.bytes += len(item.payload)

    def put_back(self, items: Sequence[Waiting]) -> None:
        """Return what was taken to the head of the queue."""
        self.items.extendleft(reversed(items))
        self.bytes += sum(len(item.payload) for item in items)

    def take(self, limit: int) -> list[Waiting]:
        """Return the oldest items, up to `limit` bytes but at least one."""
        taken: list[Waiting] = []
        room = limit
        while self.items and (not taken or len(self.items[0].payload) <= room):
            item = self.items.popleft()
            room -= len(item.payload)
            self.bytes -= len(item.payload)
            taken.append(item)
        return taken

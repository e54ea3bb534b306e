"""A firewall's engine, made to block whom a list has: asked whom it blocks, told the difference, and asked again.

It may have been started again since, and an engine that could not be reached is told again.
"""

from __future__ import annotations

import time
from collections.abc import Set
from typing import TypeGuard

from clover.control.handlers import CallError, Code, Surroundings, call_error
from clover.functions.driver import Blocking, EngineError

RECONCILE_S = 10.0
"""So often the engine is asked whom it blocks: it may have been started again."""


class Enforcement:
    """The engine of one workload, as far as it blocks clients."""

    def __init__(self, surroundings: Surroundings, *, where: str) -> None:
        self._telemetry = surroundings.telemetry
        self._name = surroundings.settings.engine
        self._where = where
        running = surroundings.running
        self._engine = running if _blocks(running) else None
        self._asked_at = float("-inf")
        """When the engine was last asked whom it blocks, by the monotonic clock."""
        self._complaint = ""
        """What the engine said when it last failed; '' when it did not."""
        self.blocked: set[str] = set()
        """Whom it blocks, as far as it has said so."""

    @property
    def possible(self) -> bool:
        """Return whether the engine can block anybody."""
        return self._engine is not None

    async def enforce(self, wanted: Set[str]) -> None:
        """Make the engine block these clients and nobody else; what fails is told once, and left for the next time."""
        if self._engine is None:
            return
        try:
            await self._move(self._engine, wanted)
        except EngineError as failure:
            if not self._complaint:
                self._telemetry.emit(
                    "clover.change",
                    f"the engine does not do what was decided about blocked clients: {failure}",
                    {"log": "change", "clover.change.outcome": "failed", "error.type": type(failure).__name__},
                )
            self._complaint = str(failure) or type(failure).__name__
            # It may have done half of it: ask again before the next attempt.
            self._asked_at = float("-inf")
        else:
            self._complaint = ""

    async def _move(self, engine: Blocking, wanted: Set[str]) -> None:
        if time.monotonic() - self._asked_at >= RECONCILE_S:
            self.blocked = set(await engine.blocked())
            self._asked_at = time.monotonic()
        for address in sorted(self.blocked - wanted):
            await engine.unblock(address)
            self.blocked.discard(address)
        for address in sorted(wanted - self.blocked):
            await engine.block(address)
            self.blocked.add(address)

    def refusal(self) -> CallError:
        """Return why the engine has not done what somebody asked for."""
        if self._engine is None:
            what = f"engine {self._name!r} cannot block clients"
            return call_error(Code.UNIMPLEMENTED, "CLV3343", what, where=self._where)
        return call_error(
            Code.INTERNAL,
            "CLV3343",
            f"the engine does not do it: {self._complaint}",
            where=self._where,
            hint="clover status says whether the engine runs",
        )


def _blocks(running: object) -> TypeGuard[Blocking]:
    return all(hasattr(running, name) for name in ("block", "unblock", "blocked"))

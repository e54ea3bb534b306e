"""One change of a function's configuration, while it is made.

    render → write → check → activate → confirm

An engine's own check reads the new files before the engine is asked to take them. Then the link is turned, the engine
is told, and the change counts when the engine itself says that it works by it. Otherwise the link is turned back and
the engine is told again. The order in which the disk is written makes a process that is killed at any point find one of
the two configurations when it comes back, and a note if the engine has to be spoken to once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.context import Context

from clover.control import refusals
from clover.control.engine import Engine, words_of
from clover.control.generations import Generations
from clover.control.handlers import CallError, Surroundings
from clover.control.in_force import InForce
from clover.errors import FunctionError
from clover.functions.driver import EngineDownError, How, Program
from clover.functions.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of a change."""

    name: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Leads from one generation to the next; each of its parts raises CallError, and then the first one is in force."""

    before: State
    after: State
    context: Context
    surroundings: Surroundings
    generations: Generations
    in_force: InForce
    steps: list[Step] = field(default_factory=list)

    def render(self) -> Program:
        """Return what the driver makes of it."""
        try:
            with self._step("render"):
                return self.surroundings.driver.render(self.in_force.settings(self.after))
        except FunctionError as refused:
            raise refusals.by_driver(refused) from refused

    async def write(self, program: Program) -> None:
        """Put it on disk, beside what is in force."""
        try:
            with self._step("write"):
                settings = self.in_force.settings(self.after)
                await asyncio.to_thread(self.generations.write, settings, program, self.after)
        except OSError as failure:
            raise refusals.by_disk(self.surroundings.settings, failure) from failure

    async def check(self, engine: Engine, program: Program) -> None:
        """Let the engine read what was written."""
        words: str | None = "its check was cut short"
        try:
            with self._step("check"):
                words = await engine.check(program)
        finally:
            if words is not None:
                await self.forget()
        if words is not None:
            raise refusals.by_check(self.surroundings.settings, words)

    async def forget(self) -> None:
        """Remove what was written."""
        await asyncio.to_thread(self.generations.forget, self.after.generation)

    async def activate(self, engine: Engine) -> How:
        """Bring it into force, or put back what was in force before."""
        await self._begin()
        self.in_force.doubt()
        before, after = self.in_force.settings(self.before), self.in_force.settings(self.after)
        try:
            with self._step("activate"):
                await asyncio.to_thread(self.generations.turn)
                how = await engine.change(before, after)
            with self._step("confirm"):
                await engine.confirm(after, how)
        except Exception as failure:
            # Whatever it is, the old configuration is put back.
            raise await self._put_back(engine, words_of(failure)) from failure
        await self.in_force.becomes(self.after)
        return how

    async def _begin(self) -> None:
        try:
            await asyncio.to_thread(self.generations.begin, before=self.before.generation, after=self.after.generation)
        except OSError as failure:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self.generations.end)
                await self.forget()
            raise refusals.by_disk(self.surroundings.settings, failure) from failure

    async def _put_back(self, engine: Engine, words: str) -> CallError:
        """Put the old configuration back into force, and return what to say about it."""
        settings, before = self.surroundings.settings, self.before.generation
        try:
            with self._step("roll back"):
                await asyncio.to_thread(self.generations.turn_back)
                await engine.move(self.in_force.settings(self.after), self.in_force.settings(self.before))
        except EngineDownError as failure:
            self.in_force.fails(words_of(failure))
            return refusals.put_back(settings, words, before=before, down=True)
        except Exception as failure:  # noqa: BLE001 - two things went wrong, and both are told
            await self.in_force.read_again()
            again = words_of(failure)
            self.in_force.fails(again)
            return refusals.not_put_back(settings, words, before=before, again=again)
        await self.in_force.becomes(self.before)
        return refusals.put_back(settings, words, before=before, down=False)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Measure a part, and make a span of it."""
        began = time.monotonic()
        attributes = {"clover.generation": self.after.generation}
        try:
            with self.surroundings.telemetry.span(name, context=self.context, attributes=attributes):
                yield
        finally:
            self.steps.append(Step(name=name, duration_s=time.monotonic() - began))

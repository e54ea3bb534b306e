"""What of a function is in force, and whether its engine works by it: asked, and put right where it does not.

The link on disk says what is in force. An engine may have been started again, may have missed what it was told, or may
have been told by an ambassador that was killed meanwhile: so it is asked before anything is done to it, and told again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace

from clover.control import difference, engine, refusals
from clover.control.change_record import Teller
from clover.control.engine import Engine
from clover.control.generations import Generations
from clover.control.handlers import CallError, Surroundings
from clover.control.settings import settings_from
from clover.functions.driver import EngineDownError, EngineError, How, Settings
from clover.functions.state import State

FRESH_S = 0.4
"""What the engine said of itself is true for so long, for everybody who asks."""
RETRY_S, MOST_RETRY_S = 0.1, 3.0
"""Pauses before an engine that does not work by its configuration is spoken to again: the first, and the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the engine says of itself."""

    ready: bool
    message: str = ""
    """Why not; '' when it is ready."""


class InForce:
    """The generation in force, and the engine that is to work by it."""

    def __init__(self, surroundings: Surroundings, generations: Generations, state: State, teller: Teller) -> None:
        settings = surroundings.settings
        self._ambassador = settings
        self._generations = generations
        self._teller = teller
        self._unsettled = asyncio.Event()
        """Set while the engine may work by something else than what is in force."""
        self._unsettled.set()
        self._health = Health(ready=False, message="the engine has not been asked yet")
        self._looked_at = float("-inf")
        self.state = state
        self.engine = (
            Engine(settings.engine, directory=settings.directory, running=surroundings.running)
            if surroundings.running is not None
            else None
        )
        """None: nothing can be told to it while it runs."""
        self.lock = asyncio.Lock()
        """Held by whoever changes what is in force, or asks the engine about it."""
        self.news = asyncio.Event()
        """Set when something changes, and replaced by another."""

    def settings(self, state: State) -> Settings:
        """Return what the driver renders a generation from."""
        return settings_from(self._ambassador, state)

    def announce(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    # ---- how it is

    async def health(self) -> Health:
        """Return whether the engine works by what is in force; during a change, what was true before it."""
        if not self.lock.locked() and self._is_stale():
            async with self.lock:
                if self._is_stale():
                    self._become(await self._look())
        return self._health

    async def settling(self) -> None:
        """Run until cancelled: while the engine may work by something else, bring it to what is in force."""
        while True:
            await self._unsettled.wait()
            pause_s = RETRY_S
            while self._unsettled.is_set() and self.engine is not None:
                async with self.lock:
                    with contextlib.suppress(CallError):
                        await self.settle(self.engine)
                if self._unsettled.is_set():
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, MOST_RETRY_S)
            self._unsettled.clear()

    def _is_stale(self) -> bool:
        # While the engine is being brought to what is in force, whoever does that knows best.
        unsettled = self.engine is not None and self._unsettled.is_set()
        return not unsettled and time.monotonic() - self._looked_at >= FRESH_S

    async def _look(self) -> Health:
        try:
            if self.engine is None:
                await engine.accepts(self._ambassador.port)
            else:
                await self.engine.confirm(self.settings(self.state), within_s=engine.GLANCE_S)
        except EngineError as failure:
            # An engine that does not run reads what is in force when it is started.
            if not isinstance(failure, EngineDownError):
                self._unsettled.set()
            return Health(ready=False, message=engine.words_of(failure))
        return Health(ready=True)

    def _become(self, health: Health) -> None:
        before, self._health, self._looked_at = self._health, health, time.monotonic()
        if before != health:
            self.announce()

    # ---- what a change does to it; whoever calls these holds the lock

    def doubt(self) -> None:
        """Remember that the engine may soon work by something else."""
        self._unsettled.set()

    def fails(self, words: str) -> None:
        """Remember that the engine does not work by what is in force, and why not."""
        self._become(Health(ready=False, message=words))

    async def read_again(self) -> None:
        """Take what the link says for what is in force."""
        self.state = await asyncio.to_thread(self._generations.current)

    async def becomes(self, state: State) -> None:
        """Remember that this is in force and the engine works by it, and remove what is needed no more."""
        self.state = state
        try:
            await asyncio.to_thread(self._generations.end)
            await asyncio.to_thread(self._generations.tidy)
        except OSError as failure:
            self._teller.say(f"old generations cannot be removed: {failure}")
        self._unsettled.clear()
        self._become(Health(ready=True))

    async def settle(self, running: Engine) -> None:
        """Make sure that the engine runs and works by what is in force. Raises CallError; nothing was changed then."""
        try:
            await self._settle(running)
        except EngineError as failure:
            words = engine.words_of(failure)
            self.fails(words)
            raise refusals.not_settled(self._ambassador, failure, words, in_force=self.state.generation) from failure

    async def _settle(self, running: Engine) -> None:
        """Bring the engine to what is in force, unless it is there. Raises EngineError."""
        began = time.monotonic()
        other = await asyncio.to_thread(self._generations.interrupted)
        how = How.NONE
        try:
            await running.confirm(self.settings(self.state), within_s=engine.GLANCE_S)
        except EngineDownError:
            raise
        except EngineError as failure:
            self._teller.say(
                f"the engine does not work by generation {self.state.generation}: {engine.words_of(failure)}"
            )
            how = await self._bring_back(running, other)
        if other is not None and other.generation < self.state.generation:
            # Whoever asked for the change never heard of it, but the chain shall.
            self._teller.applied(
                other,
                self.state,
                how=how,
                diff=difference.diff(other, self.state),
                duration_s=time.monotonic() - began,
                method="",
                context=None,
            )
        if self._unsettled.is_set():
            await self.becomes(self.state)

    async def _bring_back(self, running: Engine, other: State | None) -> How:
        """Tell the engine again; if it refuses what a change that was cut short has left, put the older one back."""
        wanted = self.state
        try:
            how = await running.move(self.settings(other or _unknown(wanted)), self.settings(wanted))
        except EngineDownError:
            raise
        except EngineError as refused:
            if other is None or other.generation > wanted.generation:
                raise
            await asyncio.to_thread(self._generations.begin, before=wanted.generation, after=other.generation)
            await asyncio.to_thread(self._generations.turn)
            self.state = other
            how = await running.move(self.settings(wanted), self.settings(other))
            failure = refusals.cut_short(self._ambassador, engine.words_of(refused))
            self._teller.failed(other, other, failure, duration_s=0, method="", context=None)
        self._teller.say(f"the engine works by generation {self.state.generation} again, by {how.value}")
        return how


def _unknown(wanted: State) -> State:
    """Return what an engine works by of which nothing is known: something that has nothing in common with `wanted`."""
    return replace(wanted, generation=0, configuration=type(wanted.configuration)(), files={})

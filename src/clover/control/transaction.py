"""A change of a function's configuration: all of it comes into force, or none.

    render → write → check → activate → confirm

An engine's own check reads the new files before the engine is asked to take them. Then the link is turned, the engine
is told, and the change counts when the engine itself says that it works by it. Otherwise the link is turned back and
the engine is told again. The order in which the disk is written makes a process that is killed at any point find one of
the two configurations when it comes back, and a note if the engine has to be spoken to once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from opentelemetry.context import Context

from clover.control import difference, engine, vetting
from clover.control.change_record import Teller, cut
from clover.control.engine import Engine
from clover.control.generations import Generations
from clover.control.handlers import Call, CallError, Code, Surroundings, Telemetry, call_error
from clover.control.settings import settings_from
from clover.errors import FunctionError
from clover.functions.driver import EngineDownError, EngineError, How, Program, Settings
from clover.functions.state import State
from clover.spec.configuration import Configuration

FRESH_S = 0.4
"""What the engine said of itself is true for so long, for everybody who asks."""
RETRY_S, MOST_RETRY_S = 0.1, 3.0
"""Pauses before an engine that does not work by its configuration is spoken to again: the first, and the longest."""
MOST_DIFF_BYTES = 65536
"""Of the diff in an answer."""
_FULL = (errno.ENOSPC, errno.EDQUOT)

Content = tuple[Configuration, Mapping[str, str]]
"""What a change is about: the configuration and the uploaded files."""
Edit = Callable[[State], Content]
"""What somebody wants, given what is in force. Raises CallError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of a change."""

    name: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a change did, or would do."""

    generation: int
    """In force now; of a dry run the one that would be."""
    changed: bool
    diff: str = ""
    how: How = How.NONE
    steps: tuple[Step, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the engine says of itself."""

    ready: bool
    message: str = ""
    """Why not; '' when it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """One change while it is made."""

    before: State
    after: State
    context: Context
    telemetry: Telemetry
    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a part, and make a span of it."""
        began = time.monotonic()
        attributes = {"clover.generation": self.after.generation}
        try:
            with self.telemetry.span(name, context=self.context, attributes=attributes):
                yield
        finally:
            self.steps.append(Step(name=name, duration_s=time.monotonic() - began))


class Transactions:
    """Owns a function's configuration, and changes it, one change at a time."""

    def __init__(
        self, surroundings: Surroundings, generations: Generations, state: State, *, tasks: asyncio.TaskGroup
    ) -> None:
        """`state` is the one in force. A change runs in `tasks` to its end, whoever stops waiting for it."""
        settings = surroundings.settings
        self._ambassador = settings
        self._driver = surroundings.driver
        self._engine = (
            Engine(settings.engine, directory=settings.directory, running=surroundings.running)
            if surroundings.running is not None
            else None
        )
        self._telemetry = surroundings.telemetry
        self._teller = Teller(function=f"{settings.function}@{settings.version}", telemetry=surroundings.telemetry)
        self._generations = generations
        self._tasks = tasks
        self._lock = asyncio.Lock()
        self._unsettled = asyncio.Event()
        """Set while the engine may work by something else than what is in force."""
        self._unsettled.set()
        self._health = Health(ready=False, message="the engine has not been asked yet")
        self._looked_at = float("-inf")
        self._contents: tuple[str, ...] = ()
        """Uploaded contents that the change under way brings."""
        self.state = state
        self.changing = False
        self.news = asyncio.Event()
        """Set when something changes, and replaced by another."""

    # ---- changes

    async def apply(self, edit: Edit, *, call: Call, expected: int = 0, dry_run: bool = False) -> Result:
        """
        Bring what `edit` wants into force. Raises CallError; what was in force before is in force then.

        Whoever waits may be cancelled: a change that has not begun does not begin, and one that has goes on to its end.
        """
        await self._lock.acquire()
        outcome: asyncio.Future[Result | Exception] = asyncio.get_running_loop().create_future()
        change = self._undisturbed(edit, outcome, call=call, expected=expected, dry_run=dry_run)
        try:
            self._tasks.create_task(change, name=f"change for {call.method}")
        except RuntimeError:  # the ambassador ends
            change.close()
            self._lock.release()
            raise
        got = await asyncio.shield(outcome)
        if isinstance(got, Exception):
            raise got
        return got

    async def idle(self) -> None:
        """Return once no change is under way."""
        async with self._lock:
            pass

    async def _undisturbed(
        self, edit: Edit, outcome: asyncio.Future[Result | Exception], *, call: Call, expected: int, dry_run: bool
    ) -> None:
        """Change, give the lock back, and hand over what came of it: what goes wrong must not end the task group."""
        before, began = self.state, time.monotonic()
        got: Result | Exception
        try:
            self._announce(changing=not dry_run)
            got = await self._change(edit, call=call, expected=expected, dry_run=dry_run)
        except Exception as failure:  # noqa: BLE001 - whoever waits raises it
            got = failure
            if self._contents:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(self._generations.tidy_contents)
            if not dry_run:
                self._teller.failed(
                    before,
                    self.state,
                    failure,
                    duration_s=time.monotonic() - began,
                    method=call.method,
                    context=call.context,
                )
        except BaseException:
            outcome.cancel()
            raise
        finally:
            self._contents = ()
            self._lock.release()
            self._announce(changing=False)
        outcome.set_result(got)

    async def _change(self, edit: Edit, *, call: Call, expected: int, dry_run: bool) -> Result:
        began, before = time.monotonic(), self.state
        configuration, files = edit(before)
        self._contents = tuple(files.values())
        if (configuration, dict(files)) == (before.configuration, dict(before.files)):
            if self._engine is not None and not dry_run:
                await self._settle_or_refuse(self._engine)
            return Result(generation=self.state.generation, changed=False, dry_run=dry_run)
        self._refuse_stale(expected)
        vetting.refuse(configuration, self._ambassador)
        running = self._changeable()
        change = _Change(
            before=before,
            after=State(
                type=before.type,
                generation=before.generation + 1,
                configuration=configuration,
                files=dict(files),
                applied_at=time.time(),
            ),
            context=call.context,
            telemetry=self._telemetry,
        )
        program = self._rendered(change)
        # What would be written to try it may be what the engine works by, though it was taken back.
        if not dry_run or await asyncio.to_thread(self._generations.interrupted) is not None:
            await self._settle_or_refuse(running)
        await self._write(program, change)
        await self._check(running, program, change)
        # In a thread: thousands of rules take a second, in which others may ask something.
        diff = cut(await asyncio.to_thread(difference.diff, before, change.after), most_bytes=MOST_DIFF_BYTES)
        if dry_run:
            await asyncio.to_thread(self._generations.forget, change.after.generation)
            generation, steps = change.after.generation, tuple(change.steps)
            return Result(generation=generation, changed=True, diff=diff, steps=steps, dry_run=True)
        how = await self._activated(running, change)
        self._teller.applied(
            before,
            change.after,
            how=how,
            diff=diff,
            duration_s=time.monotonic() - began,
            method=call.method,
            context=call.context,
        )
        return Result(generation=change.after.generation, changed=True, diff=diff, how=how, steps=tuple(change.steps))

    # ---- the parts of a change

    def _refuse_stale(self, expected: int) -> None:
        now = self.state.generation
        if expected not in (0, now):
            raise call_error(
                Code.FAILED_PRECONDITION,
                "CLV3301",
                f"generation {now} of {self._name} is in force, not the expected {expected}: it was changed meanwhile",
                where=self._where,
                hint="look at what is in force now, and try again",
                preconditions={"GENERATION": ""},
                metadata={"generation": str(now), "expected": str(expected)},
            )

    def _changeable(self) -> Engine:
        if self._engine is None:
            raise call_error(
                Code.FAILED_PRECONDITION,
                "CLV3309",
                f"{self._name} cannot be changed while it runs: its engine is {self._ambassador.engine!r}",
                where=self._where,
                hint="edit the chain file, then clover up",
                preconditions={"ENGINE": ""},
            )
        return self._engine

    def _rendered(self, change: _Change) -> Program:
        try:
            with change.step("render"):
                return self._driver.render(self._settings(change.after))
        except FunctionError as refused:
            raise CallError(
                code=Code.FAILED_PRECONDITION,
                problems=refused.problems,
                preconditions={"ENGINE": ""},
            ) from refused

    async def _write(self, program: Program, change: _Change) -> None:
        try:
            with change.step("write"):
                await asyncio.to_thread(self._generations.write, self._settings(change.after), program, change.after)
        except OSError as failure:
            self._refuse_for_disk(failure)

    async def _check(self, running: Engine, program: Program, change: _Change) -> None:
        words: str | None = "its check was cut short"
        try:
            with change.step("check"):
                words = await running.check(program)
        finally:
            if words is not None:
                await asyncio.to_thread(self._generations.forget, change.after.generation)
        if words is not None:
            raise call_error(
                Code.FAILED_PRECONDITION,
                "CLV3305",
                f"{running.name} refuses the configuration of {self._name}: {words}",
                where=self._where,
                preconditions={"ENGINE": ""},
            )

    async def _activated(self, running: Engine, change: _Change) -> How:
        """Bring the new configuration into force; or put the old one back, and raise CallError."""
        before, after = change.before, change.after
        try:
            await asyncio.to_thread(self._generations.begin, before=before.generation, after=after.generation)
        except OSError as failure:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._generations.end)
                await asyncio.to_thread(self._generations.forget, after.generation)
            self._refuse_for_disk(failure)
        self._unsettled.set()
        try:
            with change.step("activate"):
                await asyncio.to_thread(self._generations.turn)
                how = await running.change(self._settings(before), self._settings(after))
            with change.step("confirm"):
                await running.confirm(self._settings(after), how)
        except Exception as failure:
            # Whatever it is, the old configuration is put back.
            raise await self._put_back(running, change, _words(failure)) from failure
        self.state = after
        await self._settled()
        return how

    async def _put_back(self, running: Engine, change: _Change, words: str) -> CallError:
        """Put the old configuration back into force, and return what to say about it."""
        before, after = change.before, change.after
        facts = {"generation": str(before.generation)}
        try:
            with change.step("roll back"):
                await asyncio.to_thread(self._generations.turn_back)
                how = await running.change(self._settings(after), self._settings(before))
                await running.confirm(self._settings(before), how)
        except EngineDownError as down:
            self._health = Health(ready=False, message=_words(down))
            text = f"it does not run any more, and reads generation {before.generation} when it is started"
        except Exception as failure:  # noqa: BLE001 - two things went wrong, and both are told
            self.state = await asyncio.to_thread(self._generations.current)
            self._health = Health(ready=False, message=_words(failure))
            text = (
                f"putting generation {before.generation} back failed, too, and is tried again: {self._health.message}"
            )
            what = f"{running.name} did not take the change of {self._name}: {words}; {text}"
            return call_error(
                Code.INTERNAL,
                "CLV3307",
                what,
                where=self._where,
                hint="clover status",
                preconditions={"ENGINE": ""},
                metadata=facts,
            )
        else:
            text = f"generation {before.generation} was put back"
            await self._settled()
        what = f"{running.name} did not take the change of {self._name}, and {text}: {words}"
        return call_error(
            Code.ABORTED, "CLV3306", what, where=self._where, preconditions={"ENGINE": ""}, metadata=facts
        )

    def _refuse_for_disk(self, failure: OSError) -> NoReturn:
        code = Code.RESOURCE_EXHAUSTED if failure.errno in _FULL else Code.INTERNAL
        what = f"the new configuration of {self._name} cannot be written, and nothing was changed: {failure.strerror}"
        raise call_error(
            code, "CLV3310", what, where=str(failure.filename or self._ambassador.directory), hint="df -h"
        ) from failure

    # ---- what the engine works by

    async def settling(self) -> None:
        """Run until cancelled: while the engine may work by something else, bring it to what is in force."""
        while True:
            await self._unsettled.wait()
            pause_s = RETRY_S
            while self._unsettled.is_set() and self._engine is not None:
                async with self._lock:
                    with contextlib.suppress(CallError):
                        await self._settle_or_refuse(self._engine)
                if self._unsettled.is_set():
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, MOST_RETRY_S)
            self._unsettled.clear()

    async def health(self) -> Health:
        """Return whether the engine works by what is in force; during a change, what was true before it."""
        if not self._lock.locked() and self._is_stale():
            async with self._lock:
                if self._is_stale():
                    self._become(await self._look())
        return self._health

    def _is_stale(self) -> bool:
        # While the engine is being brought to what is in force, whoever does that knows best.
        unsettled = self._engine is not None and self._unsettled.is_set()
        return not unsettled and time.monotonic() - self._looked_at >= FRESH_S

    async def _look(self) -> Health:
        try:
            if self._engine is None:
                await engine.accepts(self._ambassador.port)
            else:
                await self._engine.confirm(self._settings(self.state), within_s=engine.GLANCE_S)
        except EngineError as failure:
            # An engine that does not run reads what is in force when it is started.
            if not isinstance(failure, EngineDownError):
                self._unsettled.set()
            return Health(ready=False, message=_words(failure))
        return Health(ready=True)

    async def _settle_or_refuse(self, running: Engine) -> None:
        """Make sure that the engine runs and works by what is in force. Raises CallError; nothing was changed then."""
        try:
            await self._settle(running)
        except EngineError as failure:
            self._become(Health(ready=False, message=_words(failure)))
            what = (
                f"the engine {running.name} of {self._name} does not run, and nothing was changed"
                if isinstance(failure, EngineDownError)
                else f"the engine {running.name} of {self._name} does not work by generation {self.state.generation},"
                " which is in force; nothing was changed"
            )
            raise call_error(
                Code.UNAVAILABLE,
                "CLV3308",
                f"{what}: {self._health.message}",
                where=self._where,
                hint="clover status",
                preconditions={"ENGINE": ""},
            ) from failure

    async def _settle(self, running: Engine) -> None:
        """Bring the engine to what is in force, unless it is there. Raises EngineError."""
        began = time.monotonic()
        other = await asyncio.to_thread(self._generations.interrupted)
        how = How.NONE
        try:
            await running.confirm(self._settings(self.state), within_s=engine.GLANCE_S)
        except EngineDownError:
            raise
        except EngineError as failure:
            self._teller.say(f"the engine does not work by generation {self.state.generation}: {_words(failure)}")
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
            await self._settled()

    async def _bring_back(self, running: Engine, other: State | None) -> How:
        """Tell the engine again; if it refuses what a change that was cut short has left, put the older one back."""
        wanted = self.state
        try:
            how = await running.change(self._settings(other or _unknown(wanted)), self._settings(wanted))
            await running.confirm(self._settings(wanted), how)
        except EngineDownError:
            raise
        except EngineError as refused:
            if other is None or other.generation > wanted.generation:
                raise
            await asyncio.to_thread(self._generations.begin, before=wanted.generation, after=other.generation)
            await asyncio.to_thread(self._generations.turn)
            self.state = other
            how = await running.change(self._settings(wanted), self._settings(other))
            await running.confirm(self._settings(other), how)
            text = f"a change that was cut short is refused by {running.name}: {_words(refused)}"
            self._teller.failed(
                other, other, call_error(Code.ABORTED, "CLV3306", text), duration_s=0, method="", context=None
            )
        self._teller.say(f"the engine works by generation {self.state.generation} again, by {how.value}")
        return how

    async def _settled(self) -> None:
        """Remember that the engine works by what is in force, and remove what is needed no more."""
        try:
            await asyncio.to_thread(self._generations.end)
            await asyncio.to_thread(self._generations.tidy, sparing=self._contents)
        except OSError as failure:
            self._teller.say(f"old generations cannot be removed: {failure}")
        self._unsettled.clear()
        self._become(Health(ready=True))

    # ---- small things

    @property
    def _name(self) -> str:
        return repr(self._ambassador.function)

    @property
    def _where(self) -> str:
        return f"workload {self._ambassador.workload}"

    def _settings(self, state: State) -> Settings:
        return settings_from(self._ambassador, state)

    def _become(self, health: Health) -> None:
        before, self._health, self._looked_at = self._health, health, time.monotonic()
        if before != health:
            self._announce(changing=self.changing)

    def _announce(self, *, changing: bool) -> None:
        self.changing = changing
        self.news.set()
        self.news = asyncio.Event()


def _unknown(wanted: State) -> State:
    """Return what an engine works by of which nothing is known: something that has nothing in common with `wanted`."""
    return replace(wanted, generation=0, configuration=type(wanted.configuration)(), files={})


def _words(failure: Exception) -> str:
    if not isinstance(failure, EngineError):
        # A mistake of ours, or the disk: for whoever reads the ambassador's log.
        traceback.print_exception(failure)
    return engine.shortened(str(failure) or repr(failure))

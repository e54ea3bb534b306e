"""The changes of a function's configuration: one at a time, and of each all comes into force, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clover.control import difference, refusals, vetting
from clover.control.change import Change, Step
from clover.control.change_record import Teller, cut
from clover.control.generations import Generations
from clover.control.handlers import Call, Surroundings
from clover.control.in_force import InForce
from clover.functions.driver import How
from clover.functions.state import State
from clover.spec.configuration import Configuration

MOST_DIFF_BYTES = 65536
"""Of the diff in an answer."""

Content = tuple[Configuration, Mapping[str, str]]
"""What a change is about: the configuration and the uploaded files."""
Edit = Callable[[State], Content]
"""What somebody wants, given what is in force. Raises CallError."""


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


class Transactions:
    """Owns a function's configuration, and changes it, one change at a time."""

    def __init__(
        self, surroundings: Surroundings, generations: Generations, state: State, *, tasks: asyncio.TaskGroup
    ) -> None:
        """`state` is the one in force. A change runs in `tasks` to its end, whoever stops waiting for it."""
        settings = surroundings.settings
        self._surroundings = surroundings
        self._generations = generations
        self._teller = Teller(function=f"{settings.function}@{settings.version}", telemetry=surroundings.telemetry)
        self._tasks = tasks
        self.in_force = InForce(surroundings, generations, state, self._teller)
        self.changing = False

    async def apply(self, edit: Edit, *, call: Call, expected: int = 0, dry_run: bool = False) -> Result:
        """
        Bring what `edit` wants into force. Raises CallError; what was in force before is in force then.

        Whoever waits may be cancelled: a change that has not begun does not begin, and one that has goes on to its end.
        """
        await self.in_force.lock.acquire()
        outcome: asyncio.Future[Result | Exception] = asyncio.get_running_loop().create_future()
        change = self._undisturbed(edit, outcome, call=call, expected=expected, dry_run=dry_run)
        try:
            self._tasks.create_task(change, name=f"change for {call.method}")
        except RuntimeError:  # the ambassador ends
            change.close()
            self.in_force.lock.release()
            raise
        got = await asyncio.shield(outcome)
        if isinstance(got, Exception):
            raise got
        return got

    async def idle(self) -> None:
        """Return once no change is under way."""
        async with self.in_force.lock:
            pass

    async def _undisturbed(
        self, edit: Edit, outcome: asyncio.Future[Result | Exception], *, call: Call, expected: int, dry_run: bool
    ) -> None:
        """Change, give the lock back, and hand over what came of it: what goes wrong must not end the task group."""
        before, began = self.in_force.state, time.monotonic()
        got: Result | Exception
        try:
            self._announce(changing=not dry_run)
            got = await self._change(edit, call=call, expected=expected, dry_run=dry_run)
        except Exception as failure:  # noqa: BLE001 - whoever waits raises it
            got = failure
            await self._remove_contents()
            if not dry_run:
                self._teller.failed(
                    before,
                    self.in_force.state,
                    failure,
                    duration_s=time.monotonic() - began,
                    method=call.method,
                    context=call.context,
                )
        except BaseException:
            outcome.cancel()
            raise
        finally:
            self._generations.spared = ()
            self.in_force.lock.release()
            self._announce(changing=False)
        outcome.set_result(got)

    async def _change(self, edit: Edit, *, call: Call, expected: int, dry_run: bool) -> Result:
        """Begin again where the engine refuses what a killed change has left: an older generation is in force then."""
        began, before, engine = time.monotonic(), self.in_force.state, self.in_force.engine
        configuration, files = edit(before)
        self._generations.spared = tuple(files.values())
        if (configuration, dict(files)) == (before.configuration, dict(before.files)):
            if engine is not None and not dry_run:
                await self.in_force.settle(engine)
            if self.in_force.state != before:
                return await self._change(edit, call=call, expected=expected, dry_run=dry_run)
            return Result(generation=before.generation, changed=False, dry_run=dry_run)
        settings = self._surroundings.settings
        if expected not in (0, before.generation):
            raise refusals.stale(settings, in_force=before.generation, expected=expected)
        vetting.refuse(configuration, settings)
        if engine is None:
            raise refusals.without_interface(settings)
        change = Change(
            before=before,
            after=State(
                type=before.type,
                generation=before.generation + 1,
                configuration=configuration,
                files=dict(files),
                applied_at=time.time(),
            ),
            context=call.context,
            surroundings=self._surroundings,
            generations=self._generations,
            in_force=self.in_force,
        )
        program = change.render()
        # What would be written to try it may be what the engine works by, though it was taken back.
        if not dry_run or await asyncio.to_thread(self._generations.interrupted) is not None:
            await self.in_force.settle(engine)
            if self.in_force.state != before:
                return await self._change(edit, call=call, expected=expected, dry_run=dry_run)
        await change.write(program)
        await change.check(engine, program)
        # In a thread: thousands of rules take a second, in which others may ask something.
        diff = cut(await asyncio.to_thread(difference.diff, before, change.after), most_bytes=MOST_DIFF_BYTES)
        generation = change.after.generation
        if dry_run:
            await change.forget()
            return Result(generation=generation, changed=True, diff=diff, steps=tuple(change.steps), dry_run=True)
        how = await change.activate(engine)
        self._teller.applied(
            before,
            change.after,
            how=how,
            diff=diff,
            duration_s=time.monotonic() - began,
            method=call.method,
            context=call.context,
        )
        return Result(generation=generation, changed=True, diff=diff, how=how, steps=tuple(change.steps))

    async def _remove_contents(self) -> None:
        """Remove what a change that failed brought."""
        if self._generations.spared:
            self._generations.spared = ()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._generations.tidy_contents)

    def _announce(self, *, changing: bool) -> None:
        self.changing = changing
        self.in_force.announce()

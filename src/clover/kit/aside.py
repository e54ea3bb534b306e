"""Long work of a program with a loop: done in a thread, so that whoever else the loop serves is not kept waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


async def aside(work: Callable[[], _Result]) -> _Result:
    """
    Return what `work` returns, or raise what it raises.

    It cannot be stopped halfway: whoever is cancelled meanwhile is so when it has ended. What a lock keeps apart stays
    apart therefore, and nobody has to undo what was not waited for.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((running,))
        raise

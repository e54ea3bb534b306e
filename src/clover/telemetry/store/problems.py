"""What can be wrong with a store, for whoever runs the chain."""

from __future__ import annotations

import errno
from pathlib import Path

from clover.errors import Problem
from clover.telemetry.store.engine import EngineError


def in_use(directory: Path) -> Problem:
    """Return that another process has it."""
    return Problem(
        code="CLV6003",
        where=str(directory),
        what=f"the telemetry store in {str(directory)!r} is in use by another process",
        hint="stop that process, or choose another folder with CLOVER_STATE",
    )


def unopened(directory: Path, failure: Exception) -> Problem:
    """Return that it does not open."""
    no_space = isinstance(failure, EngineError) and failure.no_space
    if no_space or (isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)):
        return full(directory)
    missing = isinstance(failure, OSError)
    return Problem(
        code="CLV6004",
        where=str(directory),
        what=f"the telemetry store in {str(directory)!r} does not open: {failure}",
        hint="set CLOVER_STATE to a folder of your own"
        if missing
        else f"to start an empty one, move it away: mv {directory} {directory.with_name(directory.name + '.broken')}",
    )


def unwritable(directory: Path, failure: EngineError) -> Problem:
    """Return that it takes nothing."""
    if failure.no_space:
        return full(directory)
    return Problem(
        code="CLV6006",
        where=str(directory),
        what=f"the telemetry store in {str(directory)!r} cannot write, new spans and logs are refused: {failure}",
    )


def full(directory: Path) -> Problem:
    """Return that its disk is full."""
    return Problem(
        code="CLV6001",
        where=str(directory),
        what=f"the telemetry store in {str(directory)!r} has no space left on its disk: new spans and logs are refused",
        hint="free some space; the store goes on by itself",
    )


def lost(directory: Path, lines: int) -> Problem:
    """Return that lines of engines are gone."""
    return Problem(
        code="CLV6002",
        where=str(directory),
        what=f"{lines} lines that engines printed are lost: the store could not take them in time",
        severity="warning",
    )

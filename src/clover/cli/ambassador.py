"""The hidden command `clover ambassador`: answers for one function until it is told to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from clover.control.ambassador import run
from clover.control.settings import AMBASSADOR_FILE, ambassador_settings
from clover.errors import FunctionError, Problem


def ambassador(folder: Annotated[Path, typer.Argument(help="Folder of the workload.")]) -> None:
    """Answer for one function; for Clover itself."""
    file = folder / AMBASSADOR_FILE
    try:
        settings = ambassador_settings(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise FunctionError(
            Problem(code="CLV3321", where=str(file), what=f"the ambassador's settings cannot be read: {failure}")
        ) from failure
    asyncio.run(run(settings))

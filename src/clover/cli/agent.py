"""The hidden command `clover agent`: takes orders to the ambassadors of a running chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from clover.control import agent as control_agent
from clover.control import settings
from clover.errors import FunctionError, Problem


def agent(folder: Annotated[Path, typer.Argument(help="Folder of the control agent's workload.")]) -> None:
    """Take orders to the ambassadors of a chain; for Clover itself."""
    file = folder / settings.AGENT_FILE
    try:
        told = settings.agent_settings(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as failure:
        problem = Problem(
            code="CLV3339", where=str(file), what=f"the control agent cannot read its settings: {failure}"
        )
        raise FunctionError(problem) from failure
    asyncio.run(control_agent.run(told))

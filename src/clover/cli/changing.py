"""Asking an ambassador for a change, and telling what it did: the same for every command that changes something."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clover.cli import output, render_control, screen
from clover.cli.ambassadors import Agent, Answer, Target


def change(agent: Agent, target: Target, method: str, request: Mapping[str, Any], *, diff: bool, as_json: bool) -> None:
    """Ask for a change, and print what it did."""
    began = time.perf_counter()
    answer = agent.call(target, method, request)
    tell(target, answer, took_ms=(time.perf_counter() - began) * 1000, diff=diff, as_json=as_json)


def tell(target: Target, answer: Answer, *, took_ms: float, diff: bool, as_json: bool) -> None:
    """Print what a change did."""
    if as_json:
        output.print_json(render_control.change_as_json(target, answer, took_ms=took_ms))
        return
    console = screen.console()
    marks = screen.marks(console)
    screen.show(render_control.change(target, answer, took_ms=took_ms, diff=diff, marks=marks), target=console)

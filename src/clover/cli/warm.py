"""The hidden command `clover warm`: imports what ambassadors and the control agent need, and forks on demand."""

from __future__ import annotations

import importlib
import socket
from typing import Annotated

import typer

MODULES = ("clover.cli.agent", "clover.cli.ambassador", "clover.control.agent", "clover.control.ambassador")
"""Imported once, so that no copy has to."""


def warm(descriptor: Annotated[int, typer.Argument(help="Number of an open socket on which orders come.")]) -> None:
    """Fork processes that have everything imported; for Clover itself."""
    from clover.cli.main import main
    from clover.runtime.local.warm import serve

    for name in MODULES:
        importlib.import_module(name)
    serve(socket.socket(fileno=descriptor), main)

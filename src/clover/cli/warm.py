"""The hidden command `clover warm`: imports what ambassadors and the control agent need, and forks on demand."""

from __future__ import annotations

import gc
import importlib
import socket
from typing import Annotated

import typer

MODULES = (
    "clover.cli.agent",
    "clover.cli.ambassador",
    "clover.control.agent",
    "clover.control.ambassador",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.h11_impl",
)
"""Imported once, so that no copy has to."""


def warm(descriptor: Annotated[int, typer.Argument(help="Number of an open socket on which orders come.")]) -> None:
    """Fork processes that have everything imported; for Clover itself."""
    from clover.cli.main import main
    from clover.runtime.local.warm import serve
    from clover.spec.configuration import MODELS

    # All of it stays, and `serve` will not look at it again.
    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    for model in MODELS.values():
        # Its validator is built on first use, unless it is built here: for all copies.
        model.model_rebuild()
    gc.enable()
    serve(socket.socket(fileno=descriptor), main)

"""An HTTP application on a Unix socket that only its owner may open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette


@contextlib.asynccontextmanager
async def serving(application: Starlette, path: Path, *, name: str, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
    """Serve `application` at `path` for as long as the block runs; `name` is the task's."""
    server = _Server(
        uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    task = tasks.create_task(server.serve(sockets=[listen(path)]), name=name)
    while not server.started and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # uvicorn has no event for it
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=2)


def listen(path: Path) -> socket.socket:
    """Open a Unix socket that nobody but its owner may ever connect to."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Before it has a name, which gets this mode: there is no moment in which others may connect. A umask would do that
    # too, but it is the whole process's, and reaches into what other threads and children make meanwhile.
    os.fchmod(listening.fileno(), 0o600)
    path.unlink(missing_ok=True)
    listening.bind(str(path))
    return listening


class _Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

"""`clover node`: the process behind a running chain. `clover up` starts it; nobody types it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import typer

from clover import app
from clover.errors import CloverError, Problem, clover_errors
from clover.runtime.local import launch, logs, namespaces

LOOK_S = 5.0
"""How often it is looked whether the log has grown too large."""


def node() -> None:
    """Run a chain as the first process of its own namespaces (internal)."""
    if os.getpid() != 1:
        raise typer.BadParameter("this command is started by clover up, inside namespaces of its own")
    # The host's /proc is still mounted, and shows the host's numbers; afterwards nobody here can learn them.
    host_pid = int(str(Path("/proc/self").readlink()))
    orders = launch.orders()
    if orders is None:
        return
    # The lock is kept to the end of this process, which is when others may touch the chain's folder.
    told, _lock = orders
    # Modes are given where files are made; whoever runs `up` may have a umask that shuts the engines' workers out.
    os.umask(0o022)
    settings = _settings(told, host_pid)
    log = settings.directory / "node.log"
    _log_to(log)
    namespaces.mount_proc()
    try:
        asyncio.run(_run(settings, log))
    except BaseException as failure:
        _report(_failed(failure))
        raise SystemExit(1) from failure


async def _run(settings: app.NodeSettings, log: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        bounding = tasks.create_task(_bounding(log), name="node.log")
        await app.run_node(settings, report=_report)
        bounding.cancel()


async def _bounding(log: Path) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        # A full disk lets no file grow; one that is gone needs no care.
        with contextlib.suppress(OSError):
            logs.bound(log)


def _settings(told: dict[str, Any], host_pid: int) -> app.NodeSettings:
    return app.NodeSettings(
        chain=Path(told["chain"]),
        directory=Path(told["directory"]),
        store=Path(told["store"]),
        name=told["name"],
        port=told["port"],
        host_pid=host_pid,
    )


def _log_to(path: Path) -> None:
    """From now on what is said on standard error goes to the log."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(handle, sys.stderr.fileno())
    os.close(handle)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)


def _report(event: app.Event) -> None:
    try:
        print(json.dumps(event), flush=True)
    except BrokenPipeError:
        # Whoever ran `clover up` left before the chain was ready; the chain goes on.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
        return
    if event["event"] != "progress":
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _failed(failure: BaseException) -> app.Event:
    errors = list(clover_errors(failure))
    # Once the chain is up nobody hears the event: the log must have it.
    traceback.print_exception(failure)
    problems = [problem for error in errors for problem in error.problems] or [
        Problem(code="CLV5002", where="node", what=f"{failure!r}", hint="this is a bug in Clover; its log has more")
    ]
    code = max((error.exit_code for error in errors), default=CloverError.exit_code)
    return {"event": "failed", "exitCode": code, "problems": [problem.as_json() for problem in dict.fromkeys(problems)]}

"""`clover node`: the process behind a running chain. `clover up` starts it; nobody types it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from clover import app
from clover.errors import CloverError, Problem, clover_errors
from clover.runtime.local import namespaces


def node(
    chain: Annotated[Path, typer.Option()],
    directory: Annotated[Path, typer.Option()],
    store: Annotated[Path, typer.Option()],
    name: Annotated[str, typer.Option()],
    port: Annotated[int, typer.Option()],
) -> None:
    """Run a chain as the first process of its own namespaces (internal)."""
    if os.getpid() != 1:
        raise typer.BadParameter("this command is started by clover up, inside namespaces of its own")
    # The host's /proc is still mounted, and shows the host's numbers; afterwards nobody here can learn them.
    host_pid = int(str(Path("/proc/self").readlink()))
    namespaces.mount_proc()
    settings = app.NodeSettings(chain=chain, directory=directory, store=store, name=name, port=port, host_pid=host_pid)
    try:
        asyncio.run(app.run_node(settings, report=_report))
    except BaseException as failure:
        _report(_failed(failure))
        raise SystemExit(1) from failure


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

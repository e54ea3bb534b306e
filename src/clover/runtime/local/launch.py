"""Starting a node in namespaces of its own, and hearing from it until it is ready.

The node is told apart from its starter by four namespaces: user (only for an ordinary user), mount, process id and
IPC. It keeps the host's network, so that the gateway can listen there. It reports one JSON object a line on its
standard output until it is ready or has failed; then it is on its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from clover.errors import HostError, Problem

Event = dict[str, Any]
"""`{"event": "progress" | "ready" | "failed", ...}`."""


def unshare_argv(command: Sequence[str], *, rootless: bool) -> tuple[str, ...]:
    """Return the command that runs `command` as the first process of its own namespaces."""
    user = ("--user", "--map-root-user") if rootless else ()
    # --ipc: ModSecurity makes a System V shared memory segment at each start and never removes it.
    # --kill-child: whoever ends `unshare` ends the node, too.
    return ("unshare", *user, "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--", *command)


def start(arguments: Sequence[str], *, log: Path) -> subprocess.Popen[str]:
    """Start `clover node ARGUMENTS` detached from this terminal; what it says besides events goes to `log`."""
    # A crash inside a library (the store is one) leaves its stack in the log.
    command = (sys.executable, "-X", "faulthandler", "-m", "clover", "node", *arguments)
    with log.open("ab") as errors:
        return subprocess.Popen(
            unshare_argv(command, rootless=os.geteuid() != 0),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
            cwd="/",
        )


def events(node: subprocess.Popen[str], *, log: Path) -> Iterator[Event]:
    """Yield what the node reports, ending with `ready` or `failed`. Raises HostError if it ends without a word."""
    output: IO[str] | None = node.stdout
    for line in output or ():
        event: Event = json.loads(line)
        yield event
        if event["event"] in ("ready", "failed"):
            return
    code = node.wait()
    words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
    refused = any("unshare" in line and "failed" in line for line in words)
    raise HostError(
        Problem(
            code="CLV2102" if refused else "CLV5001",
            where="namespaces" if refused else str(log),
            what=(
                f"this kernel does not let Clover make namespaces: {' '.join(words)}"
                if refused
                else f"the node ended with {code} before the chain was ready:\n"
                + "\n".join(f"    | {w}" for w in words)
            ),
            hint="clover doctor",
        )
    )

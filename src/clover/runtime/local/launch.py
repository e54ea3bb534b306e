"""Starting a node in namespaces of its own, and hearing from it until it is ready.

The node is told apart from its starter by four namespaces: user (only for an ordinary user), mount, process id, and
System V IPC (the firewall's library leaves shared memory behind). It keeps the host's network, so that the gateway can
listen there. It is told what to run by one JSON object on its standard input, and reports one a line on its standard
output until it is ready or has failed; then it is on its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clover.errors import HostError, Problem

Event = dict[str, Any]
"""`{"event": "progress" | "ready" | "failed", ...}`."""


def unshare_argv(command: Sequence[str], *, rootless: bool) -> tuple[str, ...]:
    """Return the command that runs `command` as the first process of its own namespaces."""
    user = ("--user", "--map-root-user") if rootless else ()
    # --kill-child: whoever ends `unshare` ends the node, too.
    return ("unshare", *user, "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--", *command)


@dataclass(slots=True, kw_only=True)
class StartingNode:
    """A node that waits to be told what to run."""

    process: subprocess.Popen[str]
    words: IO[bytes]
    """What it says before it has a log."""
    kept: bool = False
    """True: it goes on after the command that started it."""

    def begin(self, settings: Mapping[str, object]) -> None:
        """Tell it what to run."""
        with contextlib.suppress(BrokenPipeError):  # it is gone already; `events` finds out why
            if self.process.stdin:
                self.process.stdin.write(json.dumps(settings) + "\n")
                self.process.stdin.close()

    def events(self, *, log: Path) -> Iterator[Event]:
        """Yield what the node reports, ending with `ready` or `failed`. Raises HostError if it ends without a word."""
        for line in self.process.stdout or ():
            event: Event = json.loads(line)
            self.kept = event["event"] == "ready"
            yield event
            if event["event"] in ("ready", "failed"):
                return
        raise HostError(_silent_end(self.process.wait(), self._last_words(log), log))

    def _last_words(self, log: Path) -> list[str]:
        self.words.seek(0)
        text = self.words.read() + (log.read_bytes() if log.exists() else b"")
        return text.decode("utf-8", "replace").strip().splitlines()[-12:]


@contextlib.contextmanager
def starting() -> Iterator[StartingNode]:
    """Start a node detached from this terminal; it ends with the block, unless it got as far as being ready."""
    # A crash inside a library (the store is one) leaves its stack in the log.
    command = (sys.executable, "-X", "faulthandler", "-m", "clover", "node")
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                unshare_argv(command, rootless=os.geteuid() != 0),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,
                text=True,
                cwd="/",
            )
        except FileNotFoundError as failure:
            raise HostError(
                Problem(
                    code="CLV2001",
                    where="unshare",
                    what="'unshare' is missing; it is needed for making namespaces",
                    hint="sudo apt-get install --no-install-recommends util-linux",
                )
            ) from failure
        node = StartingNode(process=process, words=words)
        try:
            yield node
        finally:
            if not node.kept:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def _silent_end(code: int, words: Sequence[str], log: Path) -> Problem:
    if any("unshare" in line and "failed" in line for line in words):
        return Problem(
            code="CLV2102",
            where="namespaces",
            what=f"this kernel does not let Clover make namespaces: {' '.join(words)}",
            hint="clover doctor",
        )
    return Problem(
        code="CLV5001",
        where=str(log),
        what=f"the node ended with {code} before the chain was ready:\n" + "\n".join(f"    | {w}" for w in words),
        hint="clover doctor",
    )

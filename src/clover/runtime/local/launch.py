"""Starting a node in namespaces of its own, and hearing from it until it is ready.

The node is told apart from its starter by four namespaces: user (only for an ordinary user), mount, process id, and
System V IPC (the firewall's library leaves shared memory behind). It keeps the host's network, so that the gateway can
listen there. It is told what to run by one JSON object on its standard input, which is a socket, because the chain's
lock comes with it; and it reports one object a line on its standard output until it is ready or has failed. Then it is
on its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clover.errors import HostError, Problem
from clover.runtime.local import logs

Event = dict[str, Any]
"""`{"event": "progress" | "ready" | "failed", ...}`."""

ORDER_BYTES = 65536
"""What a node is told is a few paths and names, in one message."""


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
    orders: socket.socket
    kept: bool = False
    """True: it goes on after the command that started it."""

    def begin(self, settings: Mapping[str, object], *, lock: int) -> None:
        """Tell it what to run, and give it the chain's lock: there is no moment in which nobody has it."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is gone already; `events` says why
            socket.send_fds(self.orders, [json.dumps(settings).encode()], [lock])

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
        text = self.words.read() + logs.read(log)
        return text.decode("utf-8", "replace").strip().splitlines()[-12:]


def orders() -> tuple[dict[str, Any], int] | None:
    """In the node: wait for what `begin` tells, and the lock; None if whoever started it found a reason not to."""
    with socket.socket(fileno=os.dup(0)) as ear:
        text, locks, _, _ = socket.recv_fds(ear, ORDER_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    return (json.loads(text), locks[0]) if text else None


@contextlib.contextmanager
def starting() -> Iterator[StartingNode]:
    """Start a node detached from this terminal; it ends with the block, unless it got as far as being ready."""
    # A crash inside a library (the store is one) leaves its stack in the log.
    command = (sys.executable, "-X", "faulthandler", "-m", "clover", "node")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with tempfile.TemporaryFile() as words, ours, theirs:
        try:
            process = subprocess.Popen(
                unshare_argv(command, rootless=os.geteuid() != 0),
                stdin=theirs.fileno(),
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
        theirs.close()
        node = StartingNode(process=process, words=words, orders=ours)
        try:
            yield node
        finally:
            if not node.kept:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def _silent_end(code: int, words: Sequence[str], log: Path) -> Problem:
    if any("unshare" in line and "failed" in line for line in words):
        return Problem(
            code="CLV2102",
            where="namespaces",
            what=f"this kernel does not let Clover make namespaces: {' '.join(words)}",
            hint="clover doctor",
        )
    if code == 0:
        return Problem(
            code="CLV5001", where=str(log.parent), what="the chain was taken down by another command while it came up"
        )
    return Problem(
        code="CLV5001",
        where=str(log),
        what="\n    | ".join((f"the node ended with {code} before the chain was ready", *words)),
        hint="clover doctor",
    )

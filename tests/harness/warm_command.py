"""
The command `clover` for tests, without the half second of imports that each new Python takes.

One process has everything imported, and forks for each command: a copy of it has standard streams, environment and
arguments of its own, and ends with the command's exit code.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 200_000
"""Of one order: arguments and environment."""


PROCESSES = {"agent", "ambassador", "node", "warm"}
"""Commands that no test gives, but a chain: they load what starts threads, which no copy has."""


def run(
    arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[BinaryIO], *, timeout_s: float
) -> int:
    """Run `clover ARGUMENTS` with these as standard input, output and error; return its exit code."""
    answers, ours = socket.socketpair()
    with answers:
        with ours:
            order = json.dumps([list(arguments), dict(environment), str(Path.cwd())]).encode()
            descriptors = [*(stream.fileno() for stream in streams), ours.fileno()]
            socket.send_fds(_warm(), [order], descriptors)
        answers.settimeout(timeout_s)
        code = answers.recv(16)
        assert code, f"clover {arguments} ended without an exit code"
        return int(code)


@functools.cache
def _warm() -> socket.socket:
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            # Whoever interrupts the tests does not interrupt it: what they brought up is taken down with its help.
            start_new_session=True,
        )
    # It ends with this connection.
    atexit.register(process.wait)
    atexit.register(mine.close)
    return mine


def _serve(orders: socket.socket) -> None:
    from clover import cli
    from clover.cli.main import main

    for module in pkgutil.iter_modules(cli.__path__):
        if module.name not in PROCESSES:
            importlib.import_module(f"clover.cli.{module.name}")
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, MOST_BYTES, 4)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            _answer(order, descriptors, main)
        for descriptor in descriptors:
            os.close(descriptor)


def _answer(order: bytes, descriptors: Sequence[int], main: Callable[[Sequence[str]], int]) -> None:
    """Run one command in another process, and send back how it ended."""
    *streams, answer = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(answer)
        for place, descriptor in enumerate(streams):
            os.dup2(descriptor, place)
            os.close(descriptor)
        arguments, environment, directory = json.loads(order)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        sys.argv = ["clover", *arguments]
        code = 1
        try:
            code = main(arguments)
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

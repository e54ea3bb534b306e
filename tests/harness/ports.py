"""Ports that a test may listen on."""

import random
import socket

_OURS = range(12000, 32000)
"""Below Linux's ephemeral range (32768 and up): no other program's outgoing connection is given one of these."""


def free_port() -> int:
    """
    Return a TCP port that nobody uses on any address at this moment.

    A port that the kernel chooses (bind to 0) may be given to somebody's outgoing connection before the test's
    server has it; one of this range can only be lost to another server.
    """
    for port in random.sample(_OURS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))  # engines listen on every address
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of 200 ports between {_OURS.start} and {_OURS.stop} is free")

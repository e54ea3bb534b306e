"""One question to a socket of HAProxy, and its answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from clover.functions.driver import EngineDownError, EngineError

ANSWER_S = 3.0
MOST_BYTES = 8 << 20
"""Longer than any answer: counters of one backend take half a kilobyte."""

_PAUSE_S = 0.01


async def ask(path: Path, command: str) -> str:
    """Send one line to the socket at `path` and return all that comes back; EngineDownError if nobody answers."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await _open(path)
            try:
                writer.write(f"{command}\n".encode())
                writer.write_eof()  # the master waits for more commands otherwise
                answer = await reader.read(MOST_BYTES)
                while chunk := await reader.read(MOST_BYTES):
                    answer += chunk
                    if len(answer) > MOST_BYTES:
                        raise EngineError(f"HAProxy answers {command!r} with more than {MOST_BYTES >> 20} MiB")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise EngineDownError(f"HAProxy does not answer on {path.name} within {ANSWER_S:g} s") from None
    except OSError as failure:
        raise EngineDownError(f"HAProxy does not answer on {path.name}: {failure.strerror or failure}") from None
    return answer.decode("utf-8", "replace")


async def _open(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # By way of the folder: the name of a Unix socket may have 107 bytes, a path more.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(f"/proc/self/fd/{folder}/{path.name}")
                break
            except BlockingIOError:
                # Too many wait to be let in. The kernel forgets the attempt, which asyncio takes for one under way.
                await asyncio.sleep(_PAUSE_S)
        return await asyncio.open_unix_connection(sock=connection)
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)

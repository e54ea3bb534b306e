"""What processes print, kept in files of bounded size, with the last lines at hand for error messages."""

from __future__ import annotations

import os
import shutil
from collections import deque
from pathlib import Path

FILE_BYTES = 8 * 1024 * 1024
"""A file that grows beyond this becomes `.1`, and the older `.1` is gone."""
LINE_BYTES = 64 * 1024
"""A longer line is cut into pieces."""
LAST_LINES = 12
_ACCESS = b'{"log":"access"'
"""A line that says which request was answered, and nothing about why a process ended."""


class Log:
    """The output of one process, across restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._rest = b""
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)

    def write(self, chunk: bytes) -> bytes:
        """Keep `chunk`, and return the whole lines that it completed."""
        lines, newline, rest = (self._rest + chunk).rpartition(b"\n")
        whole = lines + newline
        if len(rest) > LINE_BYTES:
            whole, rest = whole + rest + b"\n", b""
        self._rest = rest
        if not whole:
            return b""
        words = [line for line in whole[:-1].split(b"\n") if not line.startswith(_ACCESS)]
        self._last.extend(words[-LAST_LINES:])
        try:
            if self._file.tell() > FILE_BYTES:
                self._rotate()
            self._file.write(whole)
        except OSError:
            # The disk is full or gone. A function must not stop because its log cannot be kept: the lines still go to
            # the store, which reports a full disk, and to the error message.
            pass
        return whole

    def flush(self) -> bytes:
        """Return a last line that was not ended, once the process is gone."""
        return self.write(b"\n") if self._rest else b""

    def last_lines(self) -> str:
        """Return the last lines, for a message about why the process ended; records of requests are left out."""
        return b"\n".join(line[:400] for line in self._last).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        # The old file stays open until there is a new one: if that cannot be made, lines go on where they went.
        self._path.replace(_older(self._path))
        fresh = self._path.open("ab", buffering=0)
        self._file.close()
        self._file = fresh


def read(path: Path) -> bytes:
    """Return what is in a log, that from before it began anew included; nothing when there is none."""
    return b"".join(part.read_bytes() for part in (_older(path), path) if part.exists())


def bound(path: Path) -> None:
    """
    Empty a file that several processes append to, if it has grown too large; `.1` has what was in it.

    They go on writing to the same file, which therefore cannot be renamed.
    """
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size > FILE_BYTES:
            _older(path).touch(mode=0o600)
            shutil.copyfile(path, _older(path))
            file.truncate(0)


def _older(path: Path) -> Path:
    return path.with_suffix(".log.1")

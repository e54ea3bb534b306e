"""Reading what a program appends to a file, as it comes: over rotations, truncations and restarts of the reader.

The file is its own queue: what has been dealt with is given back to the file system by punching holes, which needs no
agreement with the program that writes, and loses nothing that it writes meanwhile. The file's length keeps growing; the
room that it takes does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 256 * 1024
"""So much is read at once, so that nothing else has to wait."""
LINE_BYTES = 4 * 1024 * 1024
"""A line that is longer is passed over."""
FREE_BYTES = 16 * 1024 * 1024
"""So much must have been dealt with before it is worth giving its room back."""
ROTATED_S = 1.0
"""A file that was moved away is read for so long after its last line: its writer opens the new one when it likes."""

_PUNCH_HOLE_KEEP_SIZE = 0x03
_IN_CHANGES = 0x00000002 | 0x00000100 | 0x00000080  # IN_MODIFY, IN_CREATE, IN_MOVED_TO


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in one particular file, whatever its name is by now."""

    device: int
    inode: int
    offset: int


class Tail:
    """Reads whole lines from `start` on if that is a place in the file, else from the beginning."""

    def __init__(self, path: Path, *, start: Position | None = None) -> None:
        self._path = path
        self._start = start
        self._file = -1
        self._identity = (0, 0)
        self._offset = 0
        self._rest = b""
        """Of a line whose end has not come."""
        self._skipping = False
        """In a line that is too long."""
        self._gone_at: float | None = None
        """Since when, by the caller's clock, the file has another name and no more lines."""
        self._freed: Position | None = None
        self.skipped = 0
        """Lines that were too long."""

    @property
    def position(self) -> Position | None:
        """Where the first line begins that has not been returned; None as long as there is no file."""
        if self._file < 0:
            return None
        return Position(
            device=self._identity[0], inode=self._identity[1], offset=max(self._offset - len(self._rest), 0)
        )

    def read(self, *, now: float) -> list[bytes] | None:
        """Return the next lines without their ends; None when there is nothing more at the moment. Raises OSError."""
        if self._file < 0 and not self._open():
            return None
        if os.fstat(self._file).st_size < self._offset:
            self._restart(0)
        data = os.pread(self._file, CHUNK_BYTES, self._offset)
        if not data:
            self._look_for_another(now)
            return None
        self._gone_at = None
        self._offset += len(data)
        return list(self._lines(data))

    def free(self, upto: Position) -> int:
        """Give back the room of what stands before `upto` if it is worth it, and return how much that was."""
        begin = self._freed.offset if self._freed and self._same(self._freed) else 0
        if self._file < 0 or not self._same(upto) or upto.offset - begin < FREE_BYTES:
            return 0
        with contextlib.suppress(OSError):
            # Opened for writing at this moment alone, and never made: the name may belong to another file by now.
            file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                status = os.fstat(file)
                if (status.st_dev, status.st_ino) == self._identity:
                    _punch(file, begin, upto.offset - begin)
                    self._freed = upto
                    return upto.offset - begin
            finally:
                os.close(file)
        return 0

    def close(self) -> None:
        """Stop reading."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        status = os.fstat(self._file)
        self._identity = (status.st_dev, status.st_ino)
        start, self._start = self._start, None
        self._restart(start.offset if start and self._same(start) and start.offset <= status.st_size else 0)
        return True

    def _restart(self, offset: int) -> None:
        self._rest, self._skipping, self._freed = b"", False, None
        self._offset = offset
        # Where room was given back there are zeros, and perhaps many.
        with contextlib.suppress(OSError):
            self._offset = os.lseek(self._file, offset, os.SEEK_DATA)

    def _same(self, position: Position) -> bool:
        return (position.device, position.inode) == self._identity

    def _look_for_another(self, now: float) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        if (status.st_dev, status.st_ino) == self._identity:
            self._gone_at = None
        elif self._gone_at is None:
            self._gone_at = now
        elif now - self._gone_at >= ROTATED_S:
            self.close()
            self._rest, self._gone_at = b"", None
            self._open()

    def _lines(self, data: bytes) -> Iterator[bytes]:
        *whole, rest = data.split(b"\n")
        for line in whole:
            line = self._rest + line if self._rest else line
            self._rest = b""
            if self._skipping:
                self._skipping = False
            elif line := line.lstrip(b"\0"):
                yield line
        self._rest += rest
        if len(self._rest) > LINE_BYTES:
            self.skipped += not self._skipping
            self._rest, self._skipping = b"", True


def _punch(file: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(file, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


class Watch:
    """Wakes whoever waits when a file in a folder changes; needs a running event loop. Where the kernel has no more of
    these to give, and until the folder exists, only time wakes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle = -1
        self._woken = asyncio.Event()

    async def wait(self, *, at_most_s: float) -> None:
        """Return when something has changed since the last return, or after a time."""
        if self._handle < 0:
            self._open()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), at_most_s)
        self._woken.clear()

    def close(self) -> None:
        """Stop watching."""
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if handle < 0:
            return
        if libc.inotify_add_watch(handle, os.fsencode(self._folder), ctypes.c_uint32(_IN_CHANGES)) < 0:
            os.close(handle)
            return
        self._handle = handle
        asyncio.get_running_loop().add_reader(handle, self._wake)
        # What changed before there was a watch has woken nobody.
        self._woken.set()

    def _wake(self) -> None:
        try:
            os.read(self._handle, 65536)
        except OSError as failure:
            if failure.errno != errno.EAGAIN:
                raise
        self._woken.set()

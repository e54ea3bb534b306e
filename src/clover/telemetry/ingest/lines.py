"""What an engine prints, gathered into whole lines."""

from __future__ import annotations

LINE_BYTES = 64 << 10
"""A line longer than this is cut here; each piece is stored as a line."""


class LineGatherer:
    """Keeps the unfinished end of one stream's output until the rest of its line comes."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, chunk: bytes) -> bytes:
        """Return the lines that are whole now, each with its newline; b'' when there is none."""
        whole, newline, rest = (self._rest + chunk).rpartition(b"\n")
        if len(rest) > LINE_BYTES:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._rest = rest
        return whole + newline

    def end(self) -> bytes:
        """Return what was printed last without a newline."""
        rest, self._rest = self._rest, b""
        return rest

"""`blocks.json`: whom a firewall blocks, so that an ambassador that starts again finds whom it must take off."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable
from dataclasses import fields
from pathlib import Path

from clover.control import block_policy
from clover.control.block_policy import Entry
from clover.kit import files

FILE = "blocks.json"
MOST_AT_ONCE = 1000
"""A list that is longer is written once in `PAUSE_S`, not with each new block: writing it takes its time."""
PAUSE_S = 1.0
_FIELDS = tuple(one.name for one in fields(Entry))


class BlockFile:
    """The file of one workload."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory, FILE)
        self._written_at = float("-inf")
        self.behind = False
        """True: the list has changed since it was written."""

    def read(self) -> tuple[Entry, ...]:
        """Return what was written last; nothing if that was never. Raises OSError, and ValueError as `parse`."""
        try:
            return parse(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()

    def keep(self, entries: Collection[Entry]) -> None:
        """Write a list that has changed, unless it is so long that `catch_up` is to do it."""
        self.behind = True
        if len(entries) <= MOST_AT_ONCE:
            self.catch_up(entries, at_once=True)

    def catch_up(self, entries: Collection[Entry], *, at_once: bool = False) -> None:
        """Write the list if it has changed, and was not written a moment ago."""
        if self.behind and (at_once or time.monotonic() - self._written_at >= PAUSE_S):
            files.write(self._path, render(entries))
            self.behind = False
            self._written_at = time.monotonic()


def render(entries: Iterable[Entry]) -> str:
    """Return the text of the file."""
    return json.dumps({"blocks": [{name: getattr(entry, name) for name in _FIELDS} for entry in entries]})


def parse(text: str) -> tuple[Entry, ...]:
    """Return the entries of the file's text. Raises ValueError if it is not one that `render` made."""
    try:
        entries = tuple(
            Entry(
                address=str(block_policy.address_of(one["address"])),
                reason=str(one["reason"]),
                since=float(one["since"]),
                until=float(one["until"]),
                alert_ids=tuple(map(str, one["alert_ids"])),
                trace_id=str(one["trace_id"]),
                span_id=str(one["span_id"]),
            )
            for one in json.loads(text)["blocks"]
        )
        if not all(math.isfinite(entry.until) for entry in entries):
            raise ValueError("a block without an end")
    except (KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise ValueError(f"not a list of blocks: {failure!r}") from failure
    return entries

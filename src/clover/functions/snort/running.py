"""A running Snort, as its ambassador reaches it: a signal, and what it says then.

SIGHUP lets it read its configuration again beside the traffic. The configuration prints its generation while it is
read, and Snort says `reload complete` once it is in force, or why it stays with the old one. Both go to its log.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

from clover.functions.driver import EngineDownError, EngineError, How, Settings

CONFIRM_S = 10.0
_PAUSE_S = 0.05
_MOST_BYTES = 1024 * 1024
_MOST_WORDS = 2000
_GENERATION = re.compile(rb"^clover: generation (\d+)\s*$", re.MULTILINE)
_REFUSED = re.compile(rb"^(?:== reload failed|Reload failed!|ERROR:|FATAL:).*$", re.MULTILINE)
_COMPLETE = b"== reload complete"


@dataclass(slots=True, kw_only=True)
class SnortRunning:
    """Changes the rules of a Snort while it goes on looking at traffic."""

    directory: str
    """The workload's folder."""
    argv: tuple[str, ...]
    """The command by which its process is known."""
    _said_before: int | None = field(default=None, init=False)
    """How long the log was when the last reload was asked for; None: none was."""

    async def change(self, before: Settings, after: Settings) -> How:
        """Let it read `conf/current` again. Raises EngineDownError."""
        del before, after
        self._said_before = self._log_size()
        descriptor = os.pidfd_open(self._process())
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGHUP)
        except ProcessLookupError:
            raise EngineDownError("snort does not run") from None
        finally:
            os.close(descriptor)
        return How.RELOAD

    async def confirm(self, wanted: Settings, how: How) -> None:
        """Return once Snort has said that it works by `wanted`. Raises EngineError."""
        del how
        try:
            async with asyncio.timeout(CONFIRM_S):
                while not self._is_in_force(wanted.generation):
                    self._process()
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise EngineError(
                f"snort does not say that it works by generation {wanted.generation} within {CONFIRM_S:g} s"
            ) from None

    async def statistics(self) -> dict[str, float]:
        """Return nothing: a Snort that is built as packages are has no way to be asked while it runs."""
        self._process()
        return {}

    def _is_in_force(self, generation: int) -> bool:
        said = self._said()
        if self._said_before is not None and (refusals := _REFUSED.findall(said)):
            raise EngineError(b"; ".join(refusals).decode("utf-8", "replace")[:_MOST_WORDS])
        *_, last = (None, *_GENERATION.finditer(said))
        if last is None or int(last[1]) != generation:
            return False
        return self._said_before is None or _COMPLETE in said[last.end() :]

    def _said(self) -> bytes:
        """Return what it has printed since the last reload, or since it was started."""
        size = self._log_size()
        since = min(self._said_before, size) if self._said_before is not None else max(0, size - _MOST_BYTES)
        try:
            with self._log.open("rb") as log:
                log.seek(since)
                return log.read(_MOST_BYTES)
        except OSError:
            return b""

    @property
    def _log(self) -> Path:
        return Path(self.directory, "logs", "engine.log")

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _process(self) -> int:
        """Return the number of its process, known by its command. Raises EngineDownError."""
        wanted = b"\0".join(os.fsencode(word) for word in self.argv) + b"\0"
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _command(entry) == wanted:
                return int(entry.name)
        raise EngineDownError("snort does not run")


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""

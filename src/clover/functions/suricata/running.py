"""A running Suricata, as its ambassador reaches it: by its command socket.

`ruleset-reload-rules` reads the configuration file again that Suricata was started with, which `conf/current` leads to,
and with it the rules. It answers when the new rules look at traffic, and it answers `done` even when half of them, or
none, could be read; so the count is what proves a change. There is no way to ask for the rules themselves. Instead the
time of the last reload is compared with the time at which the link was turned.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from clover.functions.driver import CURRENT, EngineDownError, EngineError, How, Settings
from clover.functions.templates import told
from clover.spec.configuration import IdsConfiguration

SOCKET = "admin.sock"
VERSION = "0.2"
"""Of the command protocol."""
ANSWER_S = 3.0
RELOAD_S = 14.0
"""Two thousand rules take about a second."""
_PAUSE_S = 0.1
_MOST_ANSWER_BYTES = 4 * 1024 * 1024
_MOST_TOLD, _MOST_WORDS = 5, 300
"""So many of the rules that failed are told, and so much of each."""
_BUSY = "already in progress"
_TOO_EARLY = "not yet synchronized"

_COUNTERS = {
    "packets_total": ("capture", "kernel_packets"),
    "drops_total": ("capture", "kernel_drops"),
    "invalid_packets_total": ("decoder", "invalid"),
    "gaps_total": ("tcp", "reassembly_gap"),
    "requests_total": ("app_layer", "tx", "http"),
    "matches_total": ("detect", "alert"),
    "uptime_seconds": ("uptime",),
}


@dataclass(slots=True, kw_only=True)
class SuricataRunning:
    """Changes the rules of a Suricata while it goes on looking at traffic."""

    directory: str
    """The workload's folder."""
    _told: _Link | None = field(default=None, init=False)
    """Where the link led at the last reload that succeeded."""

    async def change(self, before: Settings, after: Settings) -> How:
        """Let it read its rules again. Raises EngineError."""
        del before, after
        link = self._link()
        async with _within(RELOAD_S):
            last = await self._last_reload()
            while True:
                try:
                    await self._call("ruleset-reload-rules")
                    break
                except EngineError as failure:
                    if _BUSY not in str(failure):
                        raise
                await asyncio.sleep(_PAUSE_S)
            # It says `done` even when it could not open its configuration.
            if await self._last_reload() == last:
                raise EngineError("suricata did not read its rules again; its log says why")
        self._told = link
        return How.RELOAD

    async def confirm(self, wanted: Settings, how: How) -> None:
        """Return if exactly the rules that are wanted look at traffic. Raises EngineError."""
        del how
        count = len(told(wanted, IdsConfiguration).rules)
        async with _within(ANSWER_S):
            loaded, failed = await self._rules()
            if failed:
                raise EngineError(f"suricata refuses {failed} of {count} rules: {await self._refused()}")
            if loaded != count:
                raise EngineError(f"suricata works by {loaded} rules, and generation {wanted.generation} has {count}")
            link = self._link()
            if link == self._told:
                return
            last = await self._last_reload()
        if datetime.fromisoformat(last).timestamp() < link.turned_at:
            raise EngineError(
                f"suricata read its rules at {last}, before generation {wanted.generation} came into force"
            )

    async def statistics(self) -> dict[str, float]:
        """Return its counters since it was started; those of traffic are up to a second old, and not there at first."""
        async with _within(ANSWER_S):
            loaded, failed = await self._rules()
            counters = {"rules_loaded": float(loaded), "rules_failed": float(failed)}
            try:
                message = await self._call("dump-counters")
            except EngineError as failure:
                if _TOO_EARLY not in str(failure):
                    raise
                return counters
        return counters | {
            name: float(value) for name, path in _COUNTERS.items() if (value := _at(message, path)) is not None
        }

    async def _rules(self) -> tuple[int, int]:
        """Return how many rules look at traffic, and how many could not be read."""
        (answer,) = await self._list("ruleset-stats")
        return int(answer["rules_loaded"]), int(answer["rules_failed"])

    async def _last_reload(self) -> str:
        (answer,) = await self._list("ruleset-reload-time")
        return str(answer["last_reload"])

    async def _refused(self) -> str:
        rules = await self._list("ruleset-failed-rules")
        words = [f"line {rule.get('line')}: {str(rule.get('rule'))[:_MOST_WORDS]}" for rule in rules[:_MOST_TOLD]]
        return "; ".join(words) + ("; ..." if len(rules) > _MOST_TOLD else "")

    async def _list(self, command: str) -> list[dict[str, Any]]:
        answer = await self._call(command)
        if not isinstance(answer, list) or not answer:
            raise EngineError(f"suricata answers {command!r} with {str(answer)[:_MOST_WORDS]!r}")
        return answer

    async def _call(self, command: str) -> Any:
        """Return what Suricata says to a command. Raises EngineError when that is not an answer."""
        try:
            reader, writer = await asyncio.open_unix_connection(
                str(Path(self.directory, SOCKET)), limit=_MOST_ANSWER_BYTES
            )
            try:
                await _exchange(reader, writer, {"version": VERSION})
                return await _exchange(reader, writer, {"command": command})
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        except OSError as failure:
            raise EngineDownError(f"suricata cannot be reached: {failure.strerror or failure}") from None

    def _link(self) -> _Link:
        """Return where the link is, and since when."""
        status = os.lstat(Path(self.directory, CURRENT))
        # The time of the change, not of the making: a link is made first, and comes into force by being renamed.
        return _Link(status.st_ino, status.st_ctime)


class _Link(NamedTuple):
    inode: int
    turned_at: float


@contextlib.asynccontextmanager
async def _within(time_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(time_s):
            yield
    except TimeoutError:
        raise EngineError(f"suricata does not answer within {time_s:g} s") from None


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: dict[str, str]) -> Any:
    writer.write(json.dumps(message).encode() + b"\n")
    try:
        line = await reader.readline()
    except ValueError:
        raise EngineError(f"suricata answers {message} with more than {_MOST_ANSWER_BYTES} bytes") from None
    if not line:
        raise EngineDownError("suricata ended while it was being asked")
    try:
        answer = json.loads(line)
        content, outcome = answer.get("message"), answer["return"]
    except (ValueError, KeyError, AttributeError):
        raise EngineError(f"suricata answers {message} with {line[:_MOST_WORDS]!r}") from None
    if outcome != "OK":
        raise EngineError(f"suricata says to {message}: {str(content)[:_MOST_WORDS]}")
    return content


def _at(message: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        message = message.get(key) if isinstance(message, dict) else None
    return message if isinstance(message, int | float) else None

"""A running engine under a clock: told, asked, and listened to, and never waited for without end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import traceback
from collections.abc import Mapping

from clover.functions.driver import EngineDownError, EngineError, How, Program, Running, Settings
from clover.kit.requirements import SYSTEM_PATH

CHECK_S = 20.0
"""How long an engine's own check may take."""
ACTIVATE_S, CONFIRM_S = 15.0, 12.0
"""How long an engine may take to be told, and to say that it works by what it was told."""
GLANCE_S = 2.0
"""How long an engine is listened to before something is done to it."""
MOST_WORDS = 2000
"""Characters of what an engine says that are passed on."""


class Engine:
    """The engine of one workload."""

    def __init__(self, name: str, *, directory: str, running: Running) -> None:
        self.name = name
        self._directory = directory
        self._running = running

    async def check(self, program: Program) -> str | None:
        """Let the engine check the files of a generation; return its words if it refuses them."""
        if not program.check:
            return None
        try:
            child = await asyncio.create_subprocess_exec(
                *program.check,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=program.process.working_directory or self._directory,
                env=_environment(program.process.environment),
                start_new_session=True,
            )
        except OSError as failure:
            return f"its check cannot be run: {failure}"
        try:
            async with asyncio.timeout(CHECK_S):
                words, _ = await child.communicate()
        except TimeoutError:
            return f"its check does not end within {CHECK_S:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
        return None if child.returncode == 0 else shortened(words.decode("utf-8", "replace"))

    async def change(self, before: Settings, after: Settings) -> How:
        """Bring `after` into force. Raises EngineError."""
        try:
            async with asyncio.timeout(ACTIVATE_S):
                return await self._running.change(before, after)
        except TimeoutError:
            raise EngineError(f"{self.name} was told, and does not answer within {ACTIVATE_S:g} s") from None

    async def confirm(self, wanted: Settings, how: How = How.NONE, *, within_s: float = CONFIRM_S) -> None:
        """Return once the engine says that it works by `wanted`. Raises EngineError."""
        try:
            async with asyncio.timeout(within_s):
                await self._running.confirm(wanted, how)
        except TimeoutError:
            text = f"{self.name} does not work by generation {wanted.generation} within {within_s:g} s"
            raise EngineError(text) from None

    async def move(self, before: Settings, after: Settings) -> How:
        """Bring `after` into force, and return once the engine says that it works by it. Raises EngineError."""
        how = await self.change(before, after)
        await self.confirm(after, how)
        return how


async def accepts(port: int) -> None:
    """Return if somebody accepts connections at a port of this network. Raises EngineDownError."""
    try:
        async with asyncio.timeout(GLANCE_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        raise EngineDownError(f"nothing accepts connections on port {port}") from None
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


_GREETING = re.compile(r"(?:i|Info|Notice): ")
"""How Suricata begins a line that is no complaint."""

_GENERATION = re.compile(r"""[^\s"'(\[=:]*/conf/[0-9]{6}/""")
"""The folder of what is tried, which is removed when an engine refuses it."""


def shortened(words: str) -> str:
    """Return the last of many words: engines say what stopped them at the end."""
    words = _GENERATION.sub("", words)
    told = [line for line in words.splitlines() if not _GREETING.match(line)]
    words = "\n".join(told).strip() or "it says nothing"
    return words if len(words) <= MOST_WORDS else f"... {words[-MOST_WORDS:]}"


def words_of(failure: Exception) -> str:
    """Return what to say of an engine that failed to do something."""
    if not isinstance(failure, EngineError):
        # A mistake of ours, or the disk: for whoever reads the ambassador's log.
        traceback.print_exception(failure)
    return shortened(str(failure) or repr(failure))


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (os.environ.get("PATH"), SYSTEM_PATH)))
    return {**os.environ, "PATH": path, **more}

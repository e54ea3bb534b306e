"""A running nginx cache: its answers are files, and dropping an answer means removing its file.

nginx without an extra module has no way to be asked. It opens the file whenever it wants to use an answer, though, and
takes one that is gone for one that it never had.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clover.functions.nginx_running import NginxRunning

FOLDER = "cache"
"""Below the workload's folder."""
_KEY = b"\nKEY: "
_HEAD_BYTES = 48 * 1024
"""The longest key: a path of a whole header buffer (`large_client_header_buffers`), and a host in front."""
_FRESH_S = 2.0
"""How long to wait for an answer that is being stored at this moment, to drop it, too."""
_PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class CacheRunning(NginxRunning):
    """Also drops what the cache keeps."""

    async def purge(self, *, host: str, path: str, prefix: bool) -> int:
        """
        Drop the answers for a path with its query, or for all that begin with it; `host` '' means every host.

        A host without a port is meant with every port. All variants of an answer (Vary) go. Returns how many went.
        """
        fits = _fits(host=host, path=path, prefix=prefix)
        folder = Path(self.directory, FOLDER)
        dropped, unfinished = await asyncio.to_thread(_drop, folder, fits)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FRESH_S):
                while unfinished:
                    await asyncio.sleep(_PAUSE_S)
                    unfinished, finished = await asyncio.to_thread(_split, unfinished)
                    dropped += await asyncio.to_thread(_remove, finished)
        return dropped


def _fits(*, host: str, path: str, prefix: bool) -> Callable[[bytes], bool]:
    wanted_host, wanted_path = host.lower().encode(), path.encode()

    def fits(key: bytes) -> bool:
        of, _, at = key.partition(b" ")
        of = of.lower()
        if wanted_host and wanted_host not in (of, _without_port(of)):
            return False
        return at.startswith(wanted_path) if prefix else at == wanted_path

    return fits


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


def _drop(folder: Path, fits: Callable[[bytes], bool]) -> tuple[int, list[Path]]:
    """Remove the answers that fit; also return where those will lie that fit and are still on their way."""
    finished: list[Path] = []
    unfinished: list[Path] = []
    for file in _files(folder):
        key = _key(file)
        if key is not None and fits(key):
            (unfinished if _is_unfinished(file) else finished).append(file)
    return _remove(finished), unfinished


def _split(unfinished: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return those that are still on their way, and where those lie that no longer are."""
    still = [file for file in unfinished if file.exists()]
    return still, [file.with_suffix("") for file in unfinished if file not in still]


def _remove(files: list[Path]) -> int:
    removed = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
            removed += 1
    return removed


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def _is_unfinished(file: Path) -> bool:
    """An answer is written to `HASH.NUMBER` and renamed to `HASH` when it is whole (`use_temp_path=off`)."""
    return "." in file.name


def _key(file: Path) -> bytes | None:
    """Return the key that nginx wrote into the file: `HOST PATH`."""
    try:
        with file.open("rb") as content:
            head = content.read(_HEAD_BYTES)
    except OSError:
        return None
    _, found, rest = head.partition(_KEY)
    key, newline, _ = rest.partition(b"\n")
    return key if found and newline else None

"""`clover logs FUNCTION`: what a function, its sidecar or its ambassador has printed; or the way out of the chain."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Self

import typer

from clover.cli import api
from clover.errors import DocumentError, Problem
from clover.runtime.local import ledger

PAUSE_S = 0.2
ENGINE, SIDECAR, AMBASSADOR = "engine.log", "sidecar.log", "ambassador.log"
GATEWAY, WAY_OUT = "gateway", "way-out"
_NO_WAY = "nothing leads out of the chain: no ServiceEntry in force names an endpoint beyond it"


def logs(
    function: Annotated[str, typer.Argument(metavar="FUNCTION[@VERSION]", help="A function, `gateway` or `way-out`.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")] = False,
    tail: Annotated[
        int, typer.Option(metavar="N", min=-1, help="Start with this many of the last lines; -1: all.")
    ] = -1,
    sidecar: Annotated[bool, typer.Option("--sidecar", help="The sidecar's lines instead of the function's.")] = False,
    ambassador: Annotated[
        bool, typer.Option("--ambassador", help="The ambassador's lines instead of the function's.")
    ] = False,
    chain: api.ChainOption = "",
) -> None:
    """Print what a function has printed. Lines of several versions carry the workload's name."""
    if sidecar and ambassador:
        raise typer.BadParameter("--sidecar and --ambassador are two different processes; name one")
    client = api.find(chain)
    files_of = _files(client, function, SIDECAR if sidecar else AMBASSADOR if ambassador else "")

    def pause() -> bool:
        time.sleep(PAUSE_S)
        return ledger.alive(client.chain.directory)

    out = sys.stdout.buffer
    with contextlib.ExitStack() as files:
        sources = [(prefix, files.enter_context(Growing(path))) for prefix, path in files_of]
        for prefix, source in sources:
            _write(out, prefix, source.last(tail))
        if follow:
            for prefix, lines in followed(sources, pause=pause):
                _write(out, prefix, lines)
            print(f"chain {client.chain.name} is down", file=sys.stderr)


def _files(client: api.Client, function: str, wanted: str) -> list[tuple[str, Path]]:
    """Return the log files that are meant, each with what its lines begin with. Raises DocumentError."""
    instances = client.instances()
    workloads = client.chain.directory / "w"
    if function == WAY_OUT and function not in {one.function for one in instances}:
        return [("", _existing(workloads / GATEWAY / "logs" / f"{WAY_OUT}.log", _NO_WAY))]
    chosen = api.match(instances, function)
    found: list[tuple[str, Path]] = []
    for one in chosen:
        folder = workloads / one.workload / "logs"
        prefix = f"{one.workload}: " if len(chosen) > 1 else ""
        if one.function == GATEWAY or wanted == SIDECAR:  # the gateway is all sidecar
            found.append((prefix, folder / SIDECAR))
        elif wanted == AMBASSADOR:
            found.append((prefix, _existing(folder / AMBASSADOR, f"{str(one)!r} has no ambassador")))
        else:
            others = {path.name for path in folder.glob("*.log")} - {ENGINE, SIDECAR, AMBASSADOR}
            found += [(prefix, folder / name) for name in (ENGINE, *sorted(others))]
    return found


def _existing(path: Path, otherwise: str) -> Path:
    """Return the path of a log, which is there as soon as its process is. Raises DocumentError."""
    if not path.exists():
        raise DocumentError(Problem(code="CLV5080", where=str(path), what=otherwise))
    return path


class Growing:
    """A log file that grows, and now and then is renamed to `.1` and begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def last(self, count: int) -> list[bytes]:
        """Return the last `count` whole lines so far, those of the file before included; -1: all."""
        before = self._path.with_suffix(".log.1")
        lines: deque[bytes] = deque(maxlen=count if 0 <= count <= sys.maxsize else None)
        if before.exists():
            lines.extend(before.read_bytes().splitlines(keepends=True))
        lines.extend(self.more())
        return list(lines)

    def more(self) -> list[bytes]:
        """Return the whole lines that came since the last call."""
        found = self._read()
        if self._replaced():
            # What was written between the read above and the renaming is in the old file still.
            found += self._read()
            if self._file:
                self._file.close()
            self._file = self._path.open("rb")
            found += self._read()
        lines = (self._rest + found).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        return lines

    def _read(self) -> bytes:
        return self._file.read() if self._file else b""

    def _replaced(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is None:
            return True
        ours = os.fstat(self._file.fileno())
        return (now.st_ino, now.st_dev) != (ours.st_ino, ours.st_dev)


def followed(sources: Sequence[tuple[str, Growing]], *, pause: Callable[[], bool]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield new lines with their prefix. `pause` is called between looks; when it returns False, one look remains."""
    going = True
    while going:
        going = pause()
        for prefix, source in sources:
            if lines := source.more():
                yield prefix, lines


def _write(out: IO[bytes], prefix: str, lines: Sequence[bytes]) -> None:
    mark = prefix.encode()
    for line in lines:
        out.write(mark + line)
    out.flush()

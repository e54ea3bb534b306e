"""Which files a command means that takes files and folders, and what is in them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clover.errors import DocumentError, Problem
from clover.kit import documents

STANDARD_INPUT = "stdin"
_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that is meant: its text, or why it has none."""

    name: str
    folder: str
    text: str = ""
    problems: tuple[Problem, ...] = ()
    named: bool = True
    """False: it was found in a folder."""


def below(path: str, *, deep: bool = True) -> Iterator[Found]:
    """
    Yield the file `path`, or every YAML file in the folder `path`; `-` is standard input.

    `deep`: and every one below that folder.
    """
    if path == "-":
        yield _found(STANDARD_INPUT, ".", standard_input)
    elif os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for names that are not allowed)
        files = list(_walk(path, set(), deep=deep))
        yield from files
        if not files:
            what = f"the folder {path!r} has no *.yaml or *.yml file"
            yield Found(name=path, folder=path, problems=(Problem(code="CLV5207", where=path, what=what),))
    else:
        yield _read(path, named=True)


def _walk(folder: str, seen: set[tuple[int, int]], *, deep: bool) -> Iterator[Found]:
    """Follow links, but enter no folder twice; what is hidden is nobody's document."""
    try:
        identity = os.stat(folder)  # noqa: PTH116
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        what = f"{folder!r} cannot be read: {error.strerror}"
        yield Found(name=folder, folder=folder, problems=(Problem(code="CLV1001", where=folder, what=what),))
        return
    if (identity.st_dev, identity.st_ino) in seen:
        return
    seen.add((identity.st_dev, identity.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            if deep:
                yield from _walk(entry.path, seen, deep=deep)
        elif entry.name.endswith(_ENDINGS) and (entry.is_symlink() or entry.is_file()) and not _is_pipe(entry):
            yield _read(entry.path, named=False)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself: reading says so


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    """Tell whether reading would wait for somebody."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False  # a link that leads nowhere: reading says so


def _read(path: str, *, named: bool) -> Found:
    file = Path(path)
    return _found(str(file), str(file.parent), lambda: documents.load_text(file), named=named)


def _found(name: str, folder: str, read: Callable[[], str], *, named: bool = True) -> Found:
    try:
        return Found(name=name, folder=folder, text=read(), named=named)
    except DocumentError as error:
        return Found(name=name, folder=folder, problems=error.problems, named=named)


def standard_input() -> str:
    """Return what comes from standard input; raises DocumentError when it is too much or no text."""
    return documents.text_of(sys.stdin.buffer.read(documents.MAX_BYTES + 1), STANDARD_INPUT)

"""The generations of a workload's configuration on disk: one folder each, and a link that says which is in force.

A generation becomes the one in force in a single step, the renaming of a link. Everything before that step can be lost,
and everything after it can be done again: whoever finds the folder after a crash finds the old configuration or the new
one, and a note when the engine may not have heard of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from clover.functions import state
from clover.functions.driver import CURRENT, Program, Settings
from clover.functions.state import State

KEPT = 5
"""So many generations stay on disk, the one in force among them."""
FILES = "files"
"""Folder of the contents that were uploaded, each named by its SHA-256."""
_PASSABLE = 0o711
_NUMBER = re.compile(r"\d{6,}", re.ASCII)
_FORWARD, _BACK = ".current.forward", ".current.back"
"""Links that become `current` by being renamed. Both are there before a change begins, so that a disk that fills up
meanwhile cannot stand in the way back."""
_UNDER_WAY = ".changing"
"""There while an engine may not know what the link says: a link to the generation from before."""


class UnreadableError(Exception):
    """What is on disk is no generation; the text says what is wrong with which file."""


class Generations:
    """The folder `conf` of one workload; one owner at a time. Blocks on the disk."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._conf = self._directory / Path(CURRENT).parent
        self._link = self._directory / CURRENT
        self.spared: tuple[str, ...] = ()
        """Uploaded contents that a generation is about to have."""

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """
        Be the only owner of the folder for as long as the block runs. Raises UnreadableError if somebody else is.

        Uploads that the owner before was killed in are removed.
        """
        handle = os.open(self._conf, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UnreadableError(f"{self._conf} belongs to another ambassador that still runs") from None
        try:
            with contextlib.suppress(OSError):
                self._tidy_contents(self._numbers(), unfinished=True)
            yield
        finally:
            os.close(handle)

    def current(self) -> State:
        """Return the generation that the link leads to. Raises UnreadableError."""
        return self._read(self._link / state.FILE)

    def write(self, settings: Settings, program: Program, wanted: State) -> None:
        """
        Write a generation beside those that are there, all of it or nothing.

        What an engine's workers read lies below `site/`, where every user may read; the rest is for whoever starts it.
        """
        folder = Path(settings.folder)
        self._remove(folder)
        try:
            folder.mkdir(mode=_PASSABLE, parents=True)
            folder.chmod(_PASSABLE)
            for name in program.directories:
                self._ensure_directory(name, owner=settings.user)
            for name, text in program.files.items():
                _write(_inside(folder, name), text, mode=0o644 if name.startswith("site/") else 0o600)
            for name, target in program.links.items():
                _inside(folder, name).hardlink_to(self._directory / target)
            # Last: a folder that has it is whole.
            _write(folder / state.FILE, state.render(wanted), mode=0o600)
            for inner, _, _ in os.walk(folder):
                _sync(Path(inner))
        except BaseException:
            self._remove(folder)
            raise

    def begin(self, *, before: int, after: int) -> None:
        """Prepare to turn the link, and note that a change is under way."""
        self._links(before, _UNDER_WAY, _BACK)
        self._links(after, _FORWARD)

    def turn(self) -> None:
        """Let the link lead to the new generation, in one step."""
        (self._conf / _FORWARD).replace(self._link)
        _sync(self._conf)

    def turn_back(self) -> None:
        """Let the link lead to the old generation again."""
        (self._conf / _BACK).replace(self._link)
        _sync(self._conf)

    def end(self) -> None:
        """Note that the engine works by what the link says."""
        for name in (_FORWARD, _BACK, _UNDER_WAY):
            (self._conf / name).unlink(missing_ok=True)
        _sync(self._conf)

    def interrupted(self) -> State | None:
        """Return the other side of a change that began and has not ended; None: every change has ended."""
        note = self._conf / _UNDER_WAY
        if not note.is_symlink():
            return None
        before, current = int(note.readlink().name), self.current().generation
        with contextlib.suppress(UnreadableError):
            return self._read(self._folder(before if before != current else current + 1) / state.FILE)
        return None

    def forget(self, generation: int) -> None:
        """Remove the folder of a generation that is not in force."""
        self._remove(self._folder(generation))

    def tidy(self) -> None:
        """Remove what changes that were cut short have left, the oldest generations, and contents that none has."""
        current = self.current().generation
        numbers = sorted(self._numbers())
        # Above the one in force there is only what never came into force, or was taken back.
        keep = [number for number in numbers if number <= current][-KEPT:]
        for number in numbers:
            if number not in keep:
                self._remove(self._folder(number))
        self._tidy_contents(keep)

    def tidy_contents(self) -> None:
        """Remove contents that no generation has."""
        self._tidy_contents(self._numbers())

    def _tidy_contents(self, keep: Iterable[int], *, unfinished: bool = False) -> None:
        folder = self._directory / FILES
        if not folder.is_dir():
            return
        used = {PurePosixPath(path).name for path in self.spared}
        for number in keep:
            with contextlib.suppress(UnreadableError):
                used.update(
                    PurePosixPath(path).name for path in self._read(self._folder(number) / state.FILE).files.values()
                )
        for path in folder.iterdir():
            # A content whose name is not a digest is still being written: its writer removes it, unless it is killed.
            if path.name not in used and (unfinished or not path.name.startswith(".")):
                path.unlink()

    def _links(self, generation: int, *names: str) -> None:
        for name in names:
            (self._conf / name).unlink(missing_ok=True)
            (self._conf / name).symlink_to(self._folder(generation).name)

    def _numbers(self) -> Iterator[int]:
        for path in self._conf.iterdir():
            if _NUMBER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                yield int(path.name)

    def _folder(self, generation: int) -> Path:
        return self._conf / f"{generation:06d}"

    def _ensure_directory(self, name: str, *, owner: str) -> None:
        path = _inside(self._directory, name)
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            if owner:
                shutil.chown(path, owner, owner)

    def _remove(self, folder: Path) -> None:
        if not folder.exists():
            return
        # First: what is left of it if this is cut short is no generation.
        (folder / state.FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)

    def _read(self, path: Path) -> State:
        try:
            return state.parse(path.read_text(encoding="utf-8"))
        except OSError as failure:
            raise UnreadableError(f"{path}: {failure.strerror}") from failure
        except (ValueError, KeyError, TypeError) as failure:
            raise UnreadableError(f"{path} is no state of a configuration: {failure}") from failure


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file below `folder`, whose own folders are made."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} is not a path below {folder}")
    path = folder
    for part in parts[:-1]:
        path /= part
        if not path.is_dir():
            path.mkdir(mode=_PASSABLE)
            path.chmod(_PASSABLE)
    return path / parts[-1]


def _write(path: Path, text: str, *, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fchmod(handle, mode)
        os.fsync(handle)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

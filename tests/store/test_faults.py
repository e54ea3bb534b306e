"""What the store promises when things go wrong: kept once acknowledged, refused when full, one owner at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clover.telemetry.store import schema

PROGRAM = Path(__file__).with_name("opened_store.py")


class OpenedStore:
    """A store in a process of its own."""

    def __init__(self, directory: Path, *, before: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*before, sys.executable, str(PROGRAM), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])},
        )
        self.first = self._process.stdout.readline().strip()

    def __enter__(self) -> OpenedStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=20)
        finally:
            self._process.kill()

    def ask(self, command: str) -> str:
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def test_everything_acknowledged_is_there_after_a_kill(tmp_path):
    with OpenedStore(tmp_path) as store:
        assert store.ask("insert 5000 1") == "20 taken, 0 refused"
        assert store.ask("insert 2500 2") == "10 taken, 0 refused"
        store.kill()

    with OpenedStore(tmp_path) as store:
        assert store.first == "open"
        assert store.ask("count") == "spans=7500 logs=0 refused=0 lost=0"


def test_what_waits_when_the_store_is_closed_is_kept(tmp_path):
    with OpenedStore(tmp_path) as store:
        assert store.ask("lines 1000") == "given"

    with OpenedStore(tmp_path) as store:
        assert store.ask("count") == "spans=0 logs=1000 refused=0 lost=0"


def test_a_store_has_one_owner(tmp_path):
    with OpenedStore(tmp_path) as first, OpenedStore(tmp_path) as second:
        assert second.first == "CLV6003"
        assert first.ask("count").startswith("spans=0")


def test_a_store_that_is_broken_says_so(tmp_path):
    data = tmp_path / schema.version() / "data"
    data.mkdir(parents=True)
    (data / "metadata").write_text("not a folder")

    with OpenedStore(tmp_path) as store:
        assert store.first == "CLV6004"


def test_a_folder_that_cannot_be_made_is_a_problem():
    with OpenedStore(Path("/proc/store")) as store:
        assert store.first == "CLV6004"


def small_disk(tmp_path: Path, megabytes: int) -> tuple[list[str], Path]:
    """Return a command that runs another with a disk of that size, private to it, and where it is."""
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs {disk} && exec "$@"'
    return [*unshare, "sh", "-c", mount, "sh"], disk


def fill(file: Path) -> None:
    """Write until nothing fits any more."""
    with file.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(1 << 16))


def can_mount(tmp_path: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    before, _ = small_disk(tmp_path, 1)
    return subprocess.run([*before, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def needs_mounts(tmp_path_factory) -> None:
    if not can_mount(tmp_path_factory.mktemp("try")):
        pytest.skip("mounting needs root, or a kernel that gives users namespaces of their own")


@pytest.mark.usefixtures("needs_mounts")
def test_a_full_disk_refuses_what_comes_and_keeps_what_was_acknowledged(tmp_path):
    before, disk = small_disk(tmp_path, 24)
    ballast = disk / "ballast"
    with OpenedStore(disk / "store", before=before) as store:
        inside = Path(f"/proc/{store._process.pid}/root") / str(ballast).lstrip("/")
        assert store.ask("insert 2000 1") == "8 taken, 0 refused"
        fill(inside)

        assert store.ask("insert 20000 2") == "0 taken, 80 refused"
        assert store.ask("problems") == "CLV6001"
        assert store.ask("lines 50") == "given"
        assert store.ask("count") == "spans=2000 logs=0 refused=80 lost=0"

        inside.unlink()

        assert store.ask("insert 1000 3") == "4 taken, 0 refused"
        assert store.ask("problems") == "none"
        assert store.ask("insert 250 4") == "1 taken, 0 refused"
        assert store.ask("count") == "spans=3250 logs=50 refused=80 lost=0"


def test_tables_of_another_layout_are_replaced_and_nothing_else(tmp_path):
    (tmp_path / "v-000000000000" / "data").mkdir(parents=True)
    (tmp_path / "mine").write_text("kept")
    with OpenedStore(tmp_path) as store:
        assert store.first == "open"

    assert not (tmp_path / "v-000000000000").exists()
    assert (tmp_path / "mine").read_text() == "kept"

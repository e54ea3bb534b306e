import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.runtime.local import logs
from clover.runtime.local.logs import Log


@pytest.fixture
def log(tmp_path):
    with contextlib.closing(Log(tmp_path / "engine.log")) as log:
        yield log


def test_only_whole_lines_are_passed_on(log):
    assert log.write(b"one\ntw") == b"one\n"
    assert log.write(b"o\n") == b"two\n"
    assert log.flush() == b""


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_gathered_lines_are_whole_and_nothing_is_lost(chunks):
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Log(Path(folder, "engine.log"))) as log:
        gathered = [log.write(chunk) for chunk in chunks]

        assert all(not lines or lines.endswith(b"\n") for lines in gathered)
        assert b"".join(gathered) + log.flush() in (b"".join(chunks), b"".join(chunks) + b"\n")


def test_a_last_line_without_an_end_is_not_lost(log, tmp_path):
    assert log.write(b"dying wor") == b""
    assert log.write(b"ds") == b""
    assert log.flush() == b"dying words\n"
    assert (tmp_path / "engine.log").read_bytes() == b"dying words\n"


def test_a_line_without_end_is_cut_so_that_memory_stays_bounded(log):
    assert log.write(b"x" * (logs.LINE_BYTES + 1)) == b"x" * (logs.LINE_BYTES + 1) + b"\n"


def test_the_last_lines_explain_an_exit(log):
    log.write(b"".join(b"line %d\n" % number for number in range(100)))

    assert log.last_lines().splitlines()[-1] == "line 99"
    assert len(log.last_lines().splitlines()) == logs.LAST_LINES


def test_records_of_requests_are_no_explanation(log, tmp_path):
    log.write(b"out of memory\n" + b'{"log":"access","status":200}\n' * logs.LAST_LINES)

    assert log.last_lines() == "out of memory"
    assert (tmp_path / "engine.log").read_bytes().count(b"access") == logs.LAST_LINES


def test_a_file_grows_to_its_limit_and_then_starts_again_keeping_one_older(log, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 10)
    for number in range(4):
        log.write(b"0123456789 %d\n" % number)

    assert (tmp_path / "engine.log").read_bytes() == b"0123456789 3\n"
    assert (tmp_path / "engine.log.1").read_bytes() == b"0123456789 2\n"


def test_a_folder_that_is_gone_when_a_file_is_full_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 10)
    folder = tmp_path / "logs"
    folder.mkdir()
    with contextlib.closing(Log(folder / "engine.log")) as log:
        log.write(b"0123456789 0\n")
        (folder / "engine.log").unlink()
        folder.rmdir()

        assert [log.write(b"0123456789 %d\n" % number) for number in (1, 2)] == [b"0123456789 1\n", b"0123456789 2\n"]
        assert log.last_lines().endswith("2")


def test_a_file_that_others_append_to_is_emptied_when_it_is_full_and_they_write_on(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 10)
    path = tmp_path / "node.log"
    with path.open("ab", buffering=0) as other:
        for text in (b"0123456789", b"x\n", b"last words\n"):
            other.write(text)
            logs.bound(path)

    assert (path.read_bytes(), (tmp_path / "node.log.1").read_bytes()) == (b"", b"last words\n")
    assert (tmp_path / "node.log.1").stat().st_mode & 0o777 == 0o600


def test_what_was_said_before_a_file_began_anew_is_read_with_it(tmp_path):
    path = tmp_path / "node.log"
    assert logs.read(path) == b""
    (tmp_path / "node.log.1").write_bytes(b"before\n")
    path.write_bytes(b"after\n")

    assert logs.read(path) == b"before\nafter\n"

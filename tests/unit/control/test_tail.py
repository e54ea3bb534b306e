"""What is appended to a file is read once, whatever happens to the file."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.control import tail as tails
from clover.control.tail import Tail, Watch


def drained(tail: Tail, *, now: float = 0.0) -> list[bytes]:
    lines = []
    while (more := tail.read(now=now)) is not None:
        lines += more
    return lines


@pytest.fixture
def file(tmp_path):
    return tmp_path / "eve.json"


def append(file, data: bytes) -> None:
    with file.open("ab") as out:
        out.write(data)


def test_a_file_that_is_not_there_yet_is_read_from_its_beginning_when_it_is(file):
    tail = Tail(file)
    assert tail.read(now=0) is None
    assert tail.position is None
    append(file, b"a\nb\n")
    assert drained(tail) == [b"a", b"b"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and line.lstrip(b"\0"))), cut=st.data()
)
def test_lines_come_whole_however_they_are_written(tmp_path_factory, lines, cut):
    file = tmp_path_factory.mktemp("tail") / "eve.json"
    tail, text, seen = Tail(file), b"".join(line + b"\n" for line in lines), []
    file.touch()
    while text:
        size = cut.draw(st.integers(1, len(text)))
        append(file, text[:size])
        text = text[size:]
        seen += drained(tail)
    tail.close()
    assert seen == [line.lstrip(b"\0") for line in lines]


def test_a_reader_that_starts_again_goes_on_where_a_line_begins(file):
    first = Tail(file)
    append(file, b"a\nb\nhal")
    assert drained(first) == [b"a", b"b"]
    position = first.position
    append(file, b"f\nc\n")
    assert position.offset == 4
    assert drained(Tail(file, start=position)) == [b"half", b"c"]


def test_a_place_in_another_file_means_the_beginning_of_this_one(file):
    append(file, b"a\nb\n")
    first = Tail(file)
    drained(first)
    other = file.with_name("new")
    other.write_bytes(b"c\nd\n")
    other.replace(file)
    assert drained(Tail(file, start=first.position)) == [b"c", b"d"]


def test_a_truncated_file_is_read_from_its_beginning(file):
    tail = Tail(file)
    append(file, b"a\nbcdef\n")
    drained(tail)
    file.write_bytes(b"x\n")
    assert drained(tail) == [b"x"]


def test_a_file_that_was_moved_away_is_read_to_its_end_before_the_new_one(file):
    tail = Tail(file)
    append(file, b"a\n")
    assert drained(tail) == [b"a"]
    old = file.rename(file.with_name("eve.json.1"))
    append(file, b"new\n")
    assert drained(tail, now=10.0) == []
    append(old, b"late\n")
    assert drained(tail, now=10.5) == [b"late"]
    assert drained(tail, now=11.0) == []
    assert drained(tail, now=11.6) + drained(tail, now=11.7) == [b"new"]


def test_a_line_without_end_is_passed_over(file, monkeypatch):
    monkeypatch.setattr(tails, "LINE_BYTES", 1000)
    monkeypatch.setattr(tails, "CHUNK_BYTES", 300)
    tail = Tail(file)
    append(file, b"a\n" + b"x" * 5000 + b"\nb\n")
    assert drained(tail) == [b"a", b"b"]
    assert tail.skipped == 1


def test_room_is_given_back_and_what_is_left_is_read_without_a_remembered_place(file, monkeypatch):
    monkeypatch.setattr(tails, "FREE_BYTES", 1 << 20)
    tail = Tail(file)
    append(file, (b"x" * 1023 + b"\n") * 2048)
    drained(tail)
    position = tail.position
    append(file, b"last\n")
    room = file.stat().st_blocks
    if tail.free(position) == 0:
        pytest.skip("this file system cannot punch holes")
    assert file.stat().st_blocks < room / 10
    assert tail.free(position) == 0
    assert drained(tail) == [b"last"]
    assert drained(Tail(file, start=position)) == [b"last"]
    assert drained(Tail(file))[-1] == b"last"
    with file.open("ab") as out:
        out.write(b"more\n")
    assert drained(tail) == [b"more"]


async def test_a_watch_wakes_when_a_file_appears_and_when_it_grows(file):
    watch = Watch(file.parent)
    await watch.wait(at_most_s=0.01)
    try:
        for write in (file.touch, lambda: append(file, b"a\n"), lambda: file.rename(file.with_name("b"))):
            waiting = asyncio.ensure_future(watch.wait(at_most_s=30))
            await asyncio.sleep(0)
            assert not waiting.done()
            write()
            async with asyncio.timeout(5):
                await waiting
    finally:
        watch.close()


async def test_a_watch_of_a_folder_that_is_not_there_begins_when_it_is(tmp_path):
    folder = tmp_path / "later"
    watch = Watch(folder)
    await watch.wait(at_most_s=0.001)
    folder.mkdir()
    await watch.wait(at_most_s=5)
    (folder / "x").touch()
    async with asyncio.timeout(5):
        await watch.wait(at_most_s=30)
    watch.close()

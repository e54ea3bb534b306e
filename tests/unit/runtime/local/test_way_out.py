"""The way out: real sockets on this machine's loopback, and addresses that are never dialled."""

import asyncio
import contextlib
import socket
import tempfile
from pathlib import Path

import pytest

from clover.runtime.local import way_out
from clover.runtime.local.way_out import Way, WayOut, may_be_dialled


@pytest.fixture
def folder():
    """A folder whose name is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def shouting():
    """Run a server that says in capitals what it hears, once the other side has said everything."""

    async def answer(reader, writer):
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def open_ways(ways):
    out = WayOut()
    await out.follow(ways)
    try:
        yield out
    finally:
        await out.follow({})


async def say(path, text=b"hello"):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text)
    writer.write_eof()
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_way_carries_both_directions_to_their_ends(folder):
    path = str(folder / "way")
    async with shouting() as port, open_ways({path: Way(host="127.0.0.1", port=port, loopback=True)}):
        assert await say(path, b"hello" * 100_000) == b"HELLO" * 100_000


async def test_loopback_is_not_dialled_unless_that_is_meant(folder, capsys):
    path = str(folder / "way")
    async with shouting() as port, open_ways({path: Way(host="127.0.0.1", port=port)}):
        assert await say(path) == b""

    assert "127.0.0.1 may not be dialled from a chain" in capsys.readouterr().out


async def test_a_name_that_leads_to_loopback_is_refused_as_well(folder, capsys, monkeypatch):
    path = str(folder / "way")

    async def found(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    async with shouting() as port, open_ways({path: Way(host="innocent.example.com", port=port)}):
        assert await say(path) == b""

    assert capsys.readouterr().out.startswith("innocent.example.com:")


async def test_a_port_where_nobody_listens_is_told_with_the_reason(folder, capsys):
    path = str(folder / "way")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        way = Way(host="127.0.0.1", port=unused.getsockname()[1], loopback=True)
        async with open_ways({path: way}):
            assert await say(path) == b""

    assert "Connection refused" in capsys.readouterr().out


async def test_a_way_that_is_taken_back_takes_its_connections_with_it(folder):
    path = str(folder / "way")
    async with shouting() as port, open_ways({path: Way(host="127.0.0.1", port=port, loopback=True)}) as out:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"never finished")
        await writer.drain()
        # Its other half is there once a second connection has been carried.
        assert await say(path) == b"HELLO"
        await out.follow({})

        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection(path)


async def test_a_connection_that_ends_with_its_way_is_no_mistake(folder):
    path, mistakes = str(folder / "way"), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
    async with shouting() as port, open_ways({path: Way(host="127.0.0.1", port=port, loopback=True)}) as out:
        _, writer = await asyncio.open_unix_connection(path)
        assert await say(path) == b"HELLO"
        await out.follow({})
        writer.close()
    await asyncio.sleep(0)

    assert mistakes == []


async def test_a_connection_that_is_still_being_made_ends_with_its_way(folder, monkeypatch):
    path = str(folder / "way")
    asked = asyncio.Event()

    async def never(*_, **__):
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    async with open_ways({path: Way(host="slow.example.com", port=80)}) as out:
        reader, writer = await asyncio.open_unix_connection(path)
        await asked.wait()
        await out.follow({})

        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_way_whose_endpoint_changes_leads_to_the_new_one(folder):
    path = str(folder / "way")
    async with shouting() as port, open_ways({path: Way(host="127.0.0.1", port=port)}) as out:
        await out.follow({path: Way(host="127.0.0.1", port=port, loopback=True)})

        assert await say(path) == b"HELLO"


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("192.0.2.1", True),
        ("10.0.0.1", True),
        ("2001:db8::1", True),
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:192.0.2.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
        ("fd00:ec2::254", False),
        ("fd00::1", True),
    ],
)
def test_what_is_outside(address, outside):
    assert may_be_dialled(address, loopback=False) is outside


@pytest.mark.parametrize("address", ["0.0.0.0", "169.254.169.254", "::ffff:169.254.169.254"])
def test_leave_for_loopback_is_leave_for_nothing_else(address):
    assert may_be_dialled("127.0.0.1", loopback=True)
    assert not may_be_dialled(address, loopback=True)


def test_ways_are_read_back_as_they_were_written():
    ways = {"/run/a": Way(host="a.example.com", port=443), "/run/b": Way(host="127.0.0.1", port=1, loopback=True)}

    assert way_out.ways_in(way_out.ways_text(ways)) == ways

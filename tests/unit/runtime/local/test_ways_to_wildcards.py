"""A way to whatever name is asked for: real sockets on loopback, and names that only these tests know."""

import asyncio
import contextlib
import socket
import tempfile
from pathlib import Path

import pytest

from clover.runtime.local import way_out
from clover.runtime.local.way_out import Way, WayOut


@pytest.fixture
def path():
    """The socket of a way, in a folder whose name is short enough."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield str(Path(name, "way"))


@pytest.fixture(autouse=True)
def _everybody_is_here(monkeypatch):
    async def found(_, host, port, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", found)


@contextlib.asynccontextmanager
async def a_way(path, *, loopback=True):
    """Open a way to names below example.com, at a server that says in capitals what it has heard to the end."""

    async def answer(reader, writer):
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    out = WayOut()
    port = server.sockets[0].getsockname()[1]
    await out.follow({path: Way(host="*.example.com", port=port, loopback=loopback)})
    try:
        yield
    finally:
        await out.follow({})
        server.close()


async def say(path, text, *, end=True):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text)
    if end:
        writer.write_eof()
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def test_a_request_is_heard_whole_by_the_name_that_it_asks_for(path):
    request = b"POST / HTTP/1.1\r\nHost: a.example.com:81\r\n\r\nbody"
    async with a_way(path):
        assert await say(path, request) == request.upper()


async def test_connect_is_answered_and_only_what_follows_is_heard(path):
    async with a_way(path):
        answer = await say(path, b"CONNECT a.example.com:443 HTTP/1.1\r\nhost: x\r\n\r\nhello")

    assert answer == b"HTTP/1.1 200 OK\r\n\r\nHELLO"


@pytest.mark.parametrize(
    ("request_bytes", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: a.example.org\r\n\r\n", "a.example.org is not below *.example.com"),
        (b"CONNECT a.example.org:443 HTTP/1.1\r\n\r\n", "a.example.org is not below *.example.com"),
        (b"GET / HTTP/1.1\r\n\r\n", "the request has 0 Host headers"),
        (b"GET / HTT", "the connection ended within a request, after 9 bytes"),
        (b"x" * 200_000, "the head of the request is longer than 65536 bytes"),
    ],
)
async def test_whoever_asks_for_no_name_of_the_way_is_told_why_as_is_the_log(path, request_bytes, why, capsys):
    async with a_way(path):
        answer = await say(path, request_bytes)

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    logged = capsys.readouterr().out
    assert why in answer.decode()
    assert why in logged
    # By its beginning the line is found to be about this way.
    assert logged.startswith("*.example.com:")


async def test_a_name_that_leads_to_loopback_is_refused_with_an_answer(path):
    async with a_way(path, loopback=False):
        answer = await say(path, b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")

    assert b"127.0.0.1 may not be dialled from a chain" in answer


async def test_whoever_asks_for_nothing_is_not_waited_for(path, monkeypatch):
    monkeypatch.setattr(way_out, "ASK_S", 0.05)
    async with a_way(path):
        answer = await say(path, b"GET / HTTP/1.1\r\n", end=False)

    assert b"no request within" in answer


async def test_a_refusal_is_heard_by_whoever_is_still_sending(path):
    async with a_way(path):
        answer = await say(path, b"PUT / HTTP/1.1\r\nHost: a.example.org\r\n\r\n" + b"x" * 3_000_000)

    assert b"a.example.org is not below *.example.com" in answer

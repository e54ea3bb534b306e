"""A way to whatever name is asked for: real sockets on loopback, and names that only these tests know."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

from clover.runtime.local import client_hello, way_out
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
        (b"GET / HTT", "the connection ended before a name was asked for"),
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


def hello(name):
    """Return the first bytes of a TLS client that asks for `name`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def test_the_name_that_tls_asks_for_is_read_and_every_byte_is_heard(path):
    said = hello("a.example.com")
    async with a_way(path):
        assert await say(path, said) == said.upper()


async def test_a_hello_in_several_records_is_put_together(path):
    said = hello("a.example.com")
    pieces = [said[5:][start : start + 100] for start in range(0, len(said) - 5, 100)]
    cut = b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)
    async with a_way(path):
        assert await say(path, cut) == cut.upper()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (hello("a.example.org"), "a.example.org is not below *.example.com"),
        (b"\x16\x03\x01\x00\x05hello", "the connection ended before a name was asked for"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "TLS does not begin with a ClientHello"),
        (b"\x16\x00\x00\x00\x00", "this is no handshake of TLS"),
        (b"\x16\x03\x01\x40\x00\x01\xff" + b"x" * 100_000, "this is no handshake of TLS"),
    ],
)
async def test_tls_for_no_name_of_the_way_is_answered_with_an_alert(path, said, why, capsys):
    async with a_way(path):
        assert await say(path, said) == client_hello.UNKNOWN_NAME

    assert why in capsys.readouterr().out

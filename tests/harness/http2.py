"""Clients of HTTP/2 servers that do next to nothing: ask whether the server is still there, or for its start page."""

import asyncio
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS, _PING, _GOAWAY = 1, 4, 6, 7
_REQUEST = b"\x82\x86\x84\x41\x01x"
"""GET http://x/ as HPACK writes it."""
_ENDS = 5
"""The last headers, and nothing after them."""
_ACKNOWLEDGED = 1


def _frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + bytes(4) + payload


async def pings_answered(socket: Path, times: int) -> int:
    """Ping a server `times` times without a request; return how many answers came before it hung up."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(_PREFACE + _frame(_SETTINGS) + _frame(_SETTINGS, flags=_ACKNOWLEDGED))
    answered = 0
    try:
        for number in range(times):
            writer.write(_frame(_PING, number.to_bytes(8, "big")))
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == _GOAWAY:
                    return answered
                if head[3] == _PING and head[4] & _ACKNOWLEDGED:
                    answered += 1
                    break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
    return answered


async def ask(port: int) -> None:
    """Send one request, with prior knowledge, and wait for the answer's headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = len(_REQUEST).to_bytes(3, "big") + bytes((_HEADERS, _ENDS)) + (1).to_bytes(4, "big")
    try:
        async with asyncio.timeout(30):
            writer.write(_PREFACE + _frame(_SETTINGS) + head + _REQUEST)
            kind = _SETTINGS
            while kind != _HEADERS:
                frame = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(frame[:3], "big"))
                kind = frame[3]
    finally:
        writer.close()
        await writer.wait_closed()

"""A client of a gRPC server that does nothing but ask whether it is still there, as a proxy without traffic does."""

import asyncio
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY = 4, 6, 7
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

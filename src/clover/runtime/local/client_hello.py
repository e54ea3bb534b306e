"""The name that a TLS client asks for: the server name in its ClientHello (RFC 8446, 4.1.2; RFC 6066, 3)."""

from __future__ import annotations

from clover.runtime.local.asked_names import UnreadableError

HANDSHAKE = b"\x16"
"""The first byte of a connection that begins with TLS."""
RECORD_HEAD = 5
UNKNOWN_NAME = bytes((21, 3, 3, 0, 2, 2, 112))
"""An alert: there is nobody of that name."""
_CLIENT_HELLO, _HEAD = 1, 4
_SERVER_NAME = _HOST_NAME = 0
_MOST_RECORD = 16384
_VERSION_AND_RANDOM = 34


def record_length(head: bytes) -> int:
    """Return how much follows the head of a record. Raises UnreadableError if it is none of a handshake."""
    length = int.from_bytes(head[3:5], "big")
    if head[:2] != b"\x16\x03" or not 0 < length <= _MOST_RECORD:
        raise UnreadableError("this is no handshake of TLS")
    return length


def is_whole(message: bytes) -> bool:
    """Tell whether a message of the handshake, put together from records, is all there."""
    return len(message) >= _HEAD and len(message) >= _HEAD + int.from_bytes(message[1:_HEAD], "big")


def server_name_in(message: bytes) -> str:
    """Return the name in a whole ClientHello, as it was written. Raises UnreadableError."""
    if message[:1] != bytes((_CLIENT_HELLO,)):
        raise UnreadableError("TLS does not begin with a ClientHello")
    hello = _Cursor(message[_HEAD : _HEAD + int.from_bytes(message[1:_HEAD], "big")])
    hello.take(_VERSION_AND_RANDOM)
    for size in (1, 2, 1):  # session, cipher suites, compression
        hello.vector(size)
    extensions = _Cursor(hello.vector(2))
    while extensions.left:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names = _Cursor(_Cursor(content).vector(2))
            if names.number(1) != _HOST_NAME:
                break
            return names.vector(2).decode("latin-1")
    raise UnreadableError("the TLS client says no server name")


class _Cursor:
    """Reads from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise UnreadableError("the ClientHello is cut off")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Return what follows a length of `size` bytes."""
        return self.take(self.number(size))

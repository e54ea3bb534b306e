"""HTTP/1.1 to a server on a Unix socket, with nothing but the standard library: it starts in a millisecond."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class Connection(http.client.HTTPConnection):
    """A connection whose server is a socket in the file system."""

    def __init__(self, path: Path | str, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch(
    path: Path | str, target: str, *, method: str = "GET", body: bytes | None = None, timeout_s: float = 10.0
) -> tuple[int, bytes]:
    """Return status and body of one request. Raises OSError when nobody answers there."""
    connection = Connection(path, timeout_s=timeout_s)
    try:
        connection.request(method, target, body=body)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as failure:
        raise OSError(f"{path}: {failure!r}") from failure
    finally:
        connection.close()

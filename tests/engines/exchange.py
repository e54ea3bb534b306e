"""One HTTP exchange as raw as a test wants it."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import socket
from dataclasses import dataclass

HOST = "shop.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, and the identity of the request that it answers."""

    status: int
    headers: dict[str, str]
    body: bytes
    traceparent: str
    trace_id: str


def get(port: int, path: str = "/", *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """Send one request with a traceparent of its own; header names have `_` for `-`."""
    trace_id = secrets.token_hex(16)
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    sent = {"Host": HOST, "traceparent": traceparent, "User-Agent": "Mozilla/5.0", "Accept": "*/*"}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=response.read(),
            traceparent=traceparent,
            trace_id=trace_id,
        )
    finally:
        connection.close()


def raw(port: int, request: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes as they are and return all that comes back; half-closed, nginx takes the client to be gone."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
        return received

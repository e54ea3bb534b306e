"""A network of its own, as a workload's: loopback only, made by an ordinary user, with a way for a test to dial in."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from exchange import HOST

SIDECAR = "127.0.0.6"
CLIENT = "198.51.100.7"
PROXY = "10.244.0.2"
"""Whose Envoy makes the copies."""
# Connections are made in there and handed out: a test cannot enter the namespaces of another user's making itself.
_DIALLER = """
import json, socket, subprocess, sys, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with socket.socket(fileno=int(sys.argv[1])) as orders:
    orders.send(b"up")
    while order := orders.recv(4096):
        source, port = json.loads(order)
        deadline = time.monotonic() + 10
        while True:
            try:
                made = socket.create_connection(("127.0.0.1", port), source_address=(source, 0), timeout=30)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        with made:
            made.setblocking(True)
            socket.send_fds(orders, [b"x"], [made.fileno()])
"""


@dataclass(frozen=True, slots=True)
class Network:
    """The network, for as long as its block runs."""

    prefix: tuple[str, ...]
    """Runs a command in there."""
    _orders: socket.socket
    _made: list[http.client.HTTPConnection] = field(default_factory=list)

    def connection(self, port: int) -> http.client.HTTPConnection:
        """Return a connection such as a sidecar makes, as soon as somebody accepts it."""
        self._orders.send(f'["{SIDECAR}", {port}]'.encode())
        _, (made,), _, _ = socket.recv_fds(self._orders, 16, 1)
        connection = http.client.HTTPConnection(HOST)
        connection.sock = socket.socket(fileno=made)
        connection.sock.settimeout(10)
        connection.auto_open = 0
        self._made.append(connection)
        return connection

    def hang_up(self) -> None:
        """Close what was made."""
        while self._made:
            self._made.pop().close()


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a network, and let the block use it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        holder = subprocess.Popen(
            [
                "unshare",
                "--user",
                "--map-root-user",
                "--net",
                "--",
                sys.executable,
                "-ISc",
                _DIALLER,
                str(theirs.fileno()),
            ],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        ours.settimeout(10)
        assert ours.recv(16) == b"up"
        try:
            inside = ("--user", "--net", "--preserve-credentials", f"--target={holder.pid}")
            yield Network(("nsenter", *inside, "--"), ours)
        finally:
            ours.close()
            holder.wait(timeout=30)


def copy(connection: http.client.HTTPConnection, path: str = "/", *, method: str = "GET", body: bytes | None = None,
         client: str = CLIENT, host: str = HOST, **headers: str) -> str:  # fmt: skip
    """Send a request as Envoy makes the copy of one; return its trace id."""
    trace_id = secrets.token_hex(16)
    name, colon, port = host.partition(":")
    sent = {
        "host": f"{name}-shadow{colon}{port}",
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "x-forwarded-for": f"203.0.113.66, {client},{PROXY}",
        "user-agent": "Mozilla/5.0",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection.request(method, path, body=body, headers=sent)
    response = connection.getresponse()
    response.read()
    assert response.status == 204
    return trace_id

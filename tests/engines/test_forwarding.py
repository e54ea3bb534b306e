"""What forwarding engines do beyond plain requests: upgrades, dead upstreams, unusual messages, control."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from exchange import get, raw
from running_engine import Engine

from clover.spec.chain import FunctionType
from harness.ports import free_port

pytestmark = pytest.mark.engines

FORWARDING = {
    "haproxy": (FunctionType.LOAD_BALANCER, "haproxy"),
    "nginx": (FunctionType.LOAD_BALANCER, "nginx"),
    "firewall": (FunctionType.FIREWALL, "modsecurity"),
    "cache": (FunctionType.CACHE, "nginx"),
}


@contextlib.contextmanager
def listening(handle) -> Iterator[int]:
    """Run `handle(connection)` for each connection, one after the other, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        handle(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=30)


def head(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(4096)
        if not chunk:
            break
        received += chunk
    return received


def echo_upgraded(connection: socket.socket) -> None:
    """Accept a WebSocket and send back what comes."""
    request = head(connection)
    fields = dict(line.lower().split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
    if fields.get(b"upgrade") != b"websocket" or b"upgrade" not in fields.get(b"connection", b""):
        connection.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        return
    original = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    key = original.split(b": ", 1)[1]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while chunk := connection.recv(4096):
        connection.sendall(chunk)


@pytest.mark.parametrize("kind", ["haproxy", "nginx", "firewall"])
def test_a_websocket_passes_in_both_directions(start, kind):
    with listening(echo_upgraded) as port:
        engine = start(*FORWARDING[kind], port, name=f"{kind}-ws")
        with socket.create_connection(("127.0.0.1", engine.port), timeout=30) as client:
            client.sendall(
                b"GET /chat HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
                b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            answer = head(client)
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
            for message in (b"\x81\x05hello", os.urandom(3000)):
                client.sendall(message)
                received = b""
                while len(received) < len(message):
                    received += client.recv(4096)
                assert received == message


def refuse_h2c(connection: socket.socket) -> None:
    request = head(connection).lower()
    answer = b"upgrade" if b"h2c" in request else b"plain"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + answer[:5])


@pytest.mark.parametrize("kind", ["nginx", "firewall", "cache"])
def test_an_upgrade_to_h2c_does_not_pass_an_nginx(start, kind):
    with listening(refuse_h2c) as port:
        engine = start(*FORWARDING[kind], port, name=f"{kind}-h2c")
        with socket.create_connection(("127.0.0.1", engine.port), timeout=30) as client:
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
                b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n"
            )
            answer = head(client)
            while len(answer.split(b"\r\n\r\n", 1)[1]) < 5:
                answer += client.recv(4096)
        assert answer.endswith(b"plain")


@pytest.mark.parametrize("kind", ["haproxy", "nginx", "firewall"])
def test_the_first_part_of_an_answer_arrives_before_the_second_is_made(start, kind):
    first_has_arrived = threading.Event()

    def two_parts(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 12\r\n\r\nfirst ")
        assert first_has_arrived.wait(5)
        connection.sendall(b"second")

    with listening(two_parts) as port:
        engine = start(*FORWARDING[kind], port, name=f"{kind}-stream")
        with socket.create_connection(("127.0.0.1", engine.port), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n")
            answer = b""
            while not answer.endswith(b"first "):
                answer += client.recv(4096)
            first_has_arrived.set()
            while not answer.endswith(b"second"):
                answer += client.recv(4096)


@pytest.mark.parametrize("kind", ["haproxy", "nginx", "cache"])
def test_a_dead_upstream_is_passed_over_without_an_error_for_the_client(start, kind):
    alive = start(FunctionType.SERVER, "nginx", name="alive")
    engine = start(*FORWARDING[kind], free_port(), alive.port, name=f"{kind}-half")

    answers = [get(engine.port, f"/headers?half={n}") for n in range(6)]

    assert {(answer.status, answer.headers["x-served-by"]) for answer in answers} == {(200, "alive")}


@pytest.mark.parametrize("kind", FORWARDING)
def test_no_living_upstream_is_an_error_of_the_engine_and_logged_as_one(start, kind):
    engine = start(*FORWARDING[kind], free_port(), name=f"{kind}-none")

    answer = get(engine.port, "/")

    assert answer.status in (502, 503)
    entry = engine.access_of(answer.traceparent)
    assert entry.status == answer.status


def test_a_cache_serves_what_it_has_when_its_server_is_gone(start):
    server = start(FunctionType.SERVER, "nginx", name="mortal")
    cache = start(*FORWARDING["cache"], server.port, name="cache-stale")
    first = get(cache.port, "/bytes/1k")
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=30)

    second = get(cache.port, "/bytes/1k")

    assert (first.headers["x-cache-status"], second.headers["x-cache-status"]) == ("MISS", "HIT")
    assert get(cache.port, "/bytes/10k").status == 502


def slow_to_expire(connection: socket.socket) -> None:
    for number in range(2):
        head(connection)
        if number == 1:
            connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nContent-Length: 5\r\n\r\nfirst")


def test_an_expired_page_is_served_stale_when_the_server_answers_503(start):
    with listening(slow_to_expire) as port:
        cache = start(*FORWARDING["cache"], port, name="cache-503")
        seen = [get(cache.port, "/page").headers["x-cache-status"]]
        pause = threading.Event()
        for _ in range(40):
            answer = get(cache.port, "/page")
            seen.append(answer.headers["x-cache-status"])
            if seen[-1] not in ("MISS", "HIT"):
                break
            pause.wait(0.1)

        assert (seen[0], seen[1], seen[-1]) == ("MISS", "HIT", "STALE")
        assert (answer.status, answer.body) == (200, b"first")


def remember(requests: list[bytes]):
    def handle(connection: socket.socket) -> None:
        request = head(connection)
        length = next(
            (int(line.split(b":")[1]) for line in request.split(b"\r\n") if line.lower().startswith(b"content-length")),
            None,
        )
        if length is None and b"chunked" in request.lower():
            while not request.endswith(b"0\r\n\r\n"):
                request += connection.recv(65536)
        while length is not None and len(request.split(b"\r\n\r\n", 1)[1]) < length:
            request += connection.recv(65536)
        requests.append(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    return handle


@pytest.mark.parametrize("kind", FORWARDING)
def test_path_query_and_unusual_headers_pass_byte_for_byte(start, kind):
    requests: list[bytes] = []
    with listening(remember(requests)) as port:
        engine = start(*FORWARDING[kind], port, name=f"{kind}-exact")
        # `..` is an attack to a firewall, however it is written.
        target = b"/a//b/./c/%b/d%%20e;v=1?x=%%3d&y=a+b&&z" % (b"%41" if kind == "firewall" else b"%2e%2E")
        raw(
            engine.port,
            b"GET " + target + b" HTTP/1.1\r\nHost: Shop.Example:81\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
            b"x_under_score: kept\r\ntracestate: a=b,c=d\r\nCookie: a=1; b=2\r\nConnection: close\r\n\r\n",
        )

    (request,) = requests
    assert request.startswith(b"GET " + target + b" HTTP/1.1\r\n")
    lines = {line.split(b":", 1)[0].lower(): line.split(b":", 1)[1].strip() for line in request.split(b"\r\n")[1:-2]}
    assert lines[b"host"] == b"Shop.Example:81"
    assert lines[b"x_under_score"] == b"kept"
    assert lines[b"tracestate"] == b"a=b,c=d"
    assert lines[b"cookie"] == b"a=1; b=2"


@pytest.mark.parametrize("kind", FORWARDING)
def test_a_chunked_body_passes_whole(start, kind):
    requests: list[bytes] = []
    body = b"0123456789abcdef" * 4096
    with listening(remember(requests)) as port:
        engine = start(*FORWARDING[kind], port, name=f"{kind}-chunked")
        chunks = b"".join(b"%x\r\n%b\r\n" % (4096, body[n : n + 4096]) for n in range(0, len(body), 4096))
        answer = raw(
            engine.port,
            b"POST /status/200 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
            b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            + chunks
            + b"0\r\n\r\n",
        )

    if kind == "firewall":
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 403"))
        return
    assert answer.startswith(b"HTTP/1.1 200")
    (request,) = requests
    assert request.count(b"0123456789abcdef") >= 4096 - 16


def test_the_admin_socket_drains_a_server_at_run_time(start):
    servers = [start(FunctionType.SERVER, "nginx", name=f"admin{n}") for n in (1, 2)]
    engine: Engine = start(*FORWARDING["haproxy"], *(server.port for server in servers), name="haproxy-admin")

    folder = os.open(engine.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(f"/proc/self/fd/{folder}/admin.sock")
            admin.sendall(f"set server next/127.0.0.1:{servers[0].port} state drain\n".encode())
            assert admin.recv(4096).strip() == b""
    finally:
        os.close(folder)

    assert {get(engine.port, f"/headers?{n}").headers["x-served-by"] for n in range(4)} == {"admin2"}

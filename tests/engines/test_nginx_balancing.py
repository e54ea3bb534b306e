"""How nginx spreads requests over its backends, and whom it takes for the client."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from exchange import get, raw
from running_engine import Engine, backend, backends, change
from serving import answering

from clover.functions import registry
from clover.spec.chain import FunctionType
from clover.spec.configuration import LoadBalancerConfiguration

pytestmark = pytest.mark.engines

BALANCER = registry.driver(FunctionType.LOAD_BALANCER, "nginx")
SIDECAR = "127.0.0.6"


@pytest.fixture(scope="module")
def servers(start) -> tuple[Engine, ...]:
    return tuple(start(FunctionType.SERVER, "nginx", name=f"s{n}") for n in range(4))


@pytest.fixture(scope="module")
def balancer(start, servers) -> Engine:
    return start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb")


def tell(balancer: Engine, **configuration: object) -> None:
    asyncio.run(change(balancer, BALANCER, LoadBalancerConfiguration(**configuration)))


def served(balancer: Engine, count: int) -> Counter[str]:
    return Counter(get(balancer.port, "/headers").headers["x-served-by"] for _ in range(count))


def through_a_sidecar(port: int, *, forwarded_for: str | None) -> str:
    """Return which server answers a request that comes from the sidecar's address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(SIDECAR, 0))
    with contextlib.closing(connection):
        connection.request("GET", "/headers", headers={"X-Forwarded-For": forwarded_for} if forwarded_for else {})
        response = connection.getresponse()
        response.read()
        return response.headers["x-served-by"]


def test_weights_are_shares(balancer, servers):
    to = (backend(servers[0].port, weight=3), backend(servers[1].port))
    tell(balancer, backends=to)

    assert served(balancer, 40) == {"s0": 30, "s1": 10}


@pytest.mark.parametrize("algorithm", ["round-robin", "least-connections", "random", "source"])
@pytest.mark.parametrize("state", ["drain", "disabled"])
def test_a_backend_that_is_not_ready_gets_nothing_new(balancer, servers, algorithm, state):
    to = (*backends(*(server.port for server in servers[:3])), backend(servers[3].port, state=state))
    tell(balancer, backends=to, algorithm=algorithm)

    answered = served(balancer, 30)

    assert "s3" not in answered
    assert len(answered) == (1 if algorithm == "source" else 3)


def test_a_source_keeps_its_backend_whatever_else_is_in_the_header(balancer, servers):
    tell(balancer, backends=backends(*(server.port for server in servers)), algorithm="source")

    chosen = {}
    for n in range(40):
        client = f"198.51.100.{n}" if n % 2 else f"2001:db8::{n:x}"
        ways = {
            through_a_sidecar(balancer.port, forwarded_for=header)
            for header in (
                client,
                f"203.0.113.{n}, {client}",
                f"{client}, {SIDECAR}",
                f"x, {client}, {SIDECAR}, {SIDECAR}",
            )
        }
        assert len(ways) == 1
        chosen[client] = ways.pop()
    assert set(chosen.values()) == {"s0", "s1", "s2", "s3"}

    tell(balancer, backends=backends(*(server.port for server in servers[:3])), algorithm="source")
    moved = [of for of, before in chosen.items() if through_a_sidecar(balancer.port, forwarded_for=of) != before]
    assert {chosen[of] for of in moved} == {"s3"}


@contextlib.contextmanager
def echo() -> Iterator[int]:
    def forwarded(head: bytes) -> tuple[bytes, bytes]:
        lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-forwarded-for: ")]
        return b"", b"|".join(line.split(b": ", 1)[1] for line in lines)

    with answering(forwarded) as port:
        yield port


@pytest.mark.parametrize(
    ("sent", "client", "passed_on"),
    [
        (None, SIDECAR, "127.0.0.6"),
        ("198.51.100.7", "198.51.100.7", "198.51.100.7, 127.0.0.6"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7", "203.0.113.9, 198.51.100.7, 127.0.0.6"),
        ("198.51.100.7, 127.0.0.6", "198.51.100.7", "198.51.100.7, 127.0.0.6, 127.0.0.6"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::1, 127.0.0.6"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1, 127.0.0.6"),
        ("nonsense", SIDECAR, "nonsense, 127.0.0.6"),
        ("nonsense, 198.51.100.7", "198.51.100.7", "nonsense, 198.51.100.7, 127.0.0.6"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_sidecars_and_the_next_hop_finds_it_too(
    start, sent, client, passed_on
):
    with echo() as port:
        engine = start(FunctionType.LOAD_BALANCER, "nginx", port, name="client")
        with socket.create_connection(
            ("127.0.0.1", engine.port), timeout=30, source_address=(SIDECAR, 0)
        ) as connection:
            header = f"X-Forwarded-For: {sent}\r\n" if sent else ""
            connection.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
        (entry,) = engine.accesses(1)

    assert answer.partition(b"\r\n\r\n")[2].decode() == passed_on
    assert entry.client == client


def test_two_lines_of_forwarded_addresses_are_one_list(start):
    with echo() as port:
        engine = start(FunctionType.LOAD_BALANCER, "nginx", port, name="two-lines")
        request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: a\r\nX-Forwarded-For: b\r\nConnection: close\r\n\r\n"

        assert raw(engine.port, request).partition(b"\r\n\r\n")[2] == b"a, b, 127.0.0.1"


def test_a_peer_that_is_no_sidecar_is_the_client_whatever_it_says(balancer):
    answer = get(balancer.port, "/", X_Forwarded_For="198.51.100.7")

    assert balancer.access_of(answer.traceparent).client == "127.0.0.1"


def test_no_backend_that_is_ready_is_an_error_of_the_balancer(balancer, servers):
    tell(balancer, backends=(backend(servers[0].port, state="disabled"), backend(servers[1].port, state="drain")))

    assert get(balancer.port, "/").status == 502

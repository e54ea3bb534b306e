"""What a HAProxy is told, however odd: refused, or one word where one was meant, as the real HAProxy reads it."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace

import pytest
from exchange import raw
from hostile import hostile, rendered, skeleton
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from running_engine import Engine, backend, check, settings_for, write
from serving import answering

from clover.functions import registry
from clover.functions.driver import Settings
from clover.functions.haproxy import running as way
from clover.spec.chain import FunctionType
from clover.spec.configuration import Backend, LoadBalancerConfiguration
from harness import configurations

pytestmark = pytest.mark.engines

BALANCER = registry.driver(FunctionType.LOAD_BALANCER, "haproxy")
SIDECAR = "127.0.0.6"
PLAIN = {"workload": "w", "function": "f", "version": "v1", "host": "localhost", "user": "www-data"}


def told(words: dict[str, str], directory: str, **more: object) -> Settings:
    """Return settings that no rule of the model has seen."""
    configuration = LoadBalancerConfiguration(
        backends=(backend(9181, host=words["host"], **more), backend(9182, host="localhost"))
    )
    names = {field: words[field] for field in ("workload", "function", "version", "user")}
    return replace(settings_for(BALANCER.type, directory), port=9180, configuration=configuration, **names)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(sorted(PLAIN)), text=hostile)
@example(field="host", text="a weight 256")
@example(field="host", text="a:1 b:2")
@example(field="host", text="127.0.0.1")
@example(field="host", text="${HOME}")
@example(field="host", text="a;set weight next/b 0")
@example(field="host", text="a\\ b")
@example(field="workload", text="x\nglobal")
def test_a_hostile_word_is_refused_or_stays_one_word(field, text):
    if field == "user" and not text:
        return
    with tempfile.TemporaryDirectory() as directory:
        before, after = told(PLAIN, directory), told({**PLAIN, field: text}, directory)
        program = rendered(BALANCER, after)
        if program is None:
            return
        assert skeleton(program) == skeleton(BALANCER.render(before))
        if field == "user":
            return  # the name of nobody is refused by the engine
        write(program, after)
        haproxy, *arguments = program.check
        # There is no host of most of these names, and -dr lets that pass: it is the parser that is asked.
        result = check(replace(program, check=(haproxy, "-dr", *arguments)))
        assert (result.returncode, result.stdout.count("[ALERT]")) == (0, 0), result.stdout


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(configuration=configurations.load_balancers)
def test_haproxy_accepts_every_configuration_of_the_model(configuration):
    if not configuration.backends:
        return
    here = tuple(
        one.model_copy(update={"host": "localhost", "port": 1024 + place})
        for place, one in enumerate(configuration.backends)
    )
    with tempfile.TemporaryDirectory() as directory:
        to = configuration.model_copy(update={"backends": here})
        settings_ = replace(settings_for(BALANCER.type, directory), configuration=to)
        program = BALANCER.render(settings_)
        write(program, settings_)
        result = check(program)
        assert result.returncode == 0, result.stdout


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(host=hostile, weight=st.integers(), state=st.text(max_size=5) | st.sampled_from(["ready", "drain", "disabled"]))
def test_what_a_socket_is_told_is_one_word_too(host, weight, state):
    odd = told({**PLAIN, "host": host}, "/tmp/plain", weight=weight, state=state)
    if rendered(BALANCER, odd) is None:
        return
    for target in way._targets(odd):
        for command in way._commands(target):
            assert len(command.split()) == 5
            assert not {*command} & {*";\n\r\\\"'#<"}


def test_the_numbers_of_servers_do_not_depend_on_their_order():
    def lines(*hosts: str) -> set[str]:
        to = LoadBalancerConfiguration(backends=tuple(Backend(host=host) for host in hosts), algorithm="source")
        text = BALANCER.render(replace(told(PLAIN, "/tmp/plain"), configuration=to)).files["haproxy.cfg"]
        return {line for line in text.splitlines() if line.startswith("    server ")}

    assert lines("a", "b", "c") > lines("c", "a")


@pytest.fixture(scope="module")
def echo(start):
    def forwarded(head: bytes) -> tuple[bytes, bytes]:
        lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-forwarded-for: ")]
        return b"", b"|".join(line.split(b": ", 1)[1] for line in lines)

    with answering(forwarded) as port:
        yield start(FunctionType.LOAD_BALANCER, "haproxy", port, name="client")


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        ((), SIDECAR),
        (("198.51.100.7",), "198.51.100.7"),
        (("203.0.113.9, 198.51.100.7",), "198.51.100.7"),
        (("198.51.100.7, 127.0.0.6",), "198.51.100.7"),
        (("198.51.100.7", "127.0.0.6", "127.0.0.6"), "198.51.100.7"),
        (("198.51.100.7, " + ", ".join([SIDECAR] * 9),), "198.51.100.7"),
        (("198.51.100.7, " + ", ".join([SIDECAR] * 30),), SIDECAR),
        (("2001:db8::1, 127.0.0.6",), "2001:db8::1"),
        (("127.0.0.1",), "127.0.0.1"),
        (("nonsense",), SIDECAR),
        (("198.51.100.7, nonsense",), SIDECAR),
        (("198.51.100.7, nonsense, 127.0.0.6",), SIDECAR),
        (('"},{"', "198.51.100.7"), "198.51.100.7"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_sidecars(echo: Engine, sent, client):
    before = len(echo.accesses(0))
    with socket.create_connection(("127.0.0.1", echo.port), timeout=30, source_address=(SIDECAR, 0)) as connection:
        headers = "".join(f"X-Forwarded-For: {line}\r\n" for line in sent)
        connection.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{headers}Connection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk

    assert answer.partition(b"\r\n\r\n")[2].decode() == "|".join((*sent, SIDECAR))
    assert echo.accesses(before + 1)[before].client == client


def test_a_peer_that_is_no_sidecar_is_the_client_whatever_it_says(echo: Engine):
    before = len(echo.accesses(0))
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nConnection: close\r\n\r\n"
    raw(echo.port, request)

    assert echo.accesses(before + 1)[before].client == "127.0.0.1"


def test_what_is_no_request_has_a_client_and_a_generation_too(echo: Engine):
    before = len(echo.accesses(0))
    raw(echo.port, b"GE\x01T / HTTP/1.1\r\n\r\n")

    entry = echo.accesses(before + 1)[before]
    assert (entry.status, entry.client, entry.generation) == (400, "127.0.0.1", 1)

"""Whatever clients send, each engine's log stays one parseable JSON object a line."""

from __future__ import annotations

import json
import secrets

import pytest
from exchange import raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_engine import Engine

from clover.functions.log import parse_access
from clover.spec.chain import FunctionType

pytestmark = pytest.mark.engines

KEYS = {
    *("log", "time", "traceparent", "request_id", "client", "method", "host", "path", "protocol"),
    *("status", "bytes", "duration_ms", "upstream", "upstream_status"),
}

bytes_of_a_line = st.binary(max_size=60).map(lambda text: text.translate(None, b"\r\n"))
tricky = st.sampled_from(
    [
        b'"',
        b"\\",
        b'","status":200,"x":"',
        b'"}\\n{"log":"access"}',
        b"\x00",
        b"\x01\x1f\x7f",
        b"\x80\xff\xfe",
        b"\xc3\xa9",
        b"\xf0\x9f\x8d\x80",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"%{+Q}o%[src]",
        b"$request_id${status}",
        b"\t",
        b"00-" + b"0" * 70,
    ]
)
hostile = st.lists(st.one_of(tricky, bytes_of_a_line), max_size=4).map(b"".join)


@pytest.fixture(scope="module")
def engines(start) -> tuple[Engine, ...]:
    server = start(FunctionType.SERVER, "nginx", name="server")
    return (
        server,
        start(FunctionType.LOAD_BALANCER, "haproxy", server.port, name="haproxy"),
        start(FunctionType.LOAD_BALANCER, "nginx", server.port, name="nginx"),
        start(FunctionType.CACHE, "nginx", server.port, name="cache"),
        start(FunctionType.FIREWALL, "modsecurity", server.port, name="firewall"),
    )


def settle(engine: Engine) -> None:
    """Wait until the engine has logged all that was sent to it so far."""
    marker = secrets.token_hex(8)
    raw(engine.port, f"GET /{marker} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    engine.wait_for(lambda line: line.startswith(b'{"log":"access"') and marker.encode() in line)


def assert_every_line_can_be_read(engine: Engine, since: int) -> None:
    for line in engine.lines[since:]:
        if not line.startswith(b'{"log"'):
            continue
        fields = json.loads(line.decode("utf-8", errors="replace"))
        assert set(fields) - {"cache", "generation", "blocked", "denied"} == KEYS, line
        assert (fields["log"], type(fields["status"])) == ("access", int), line
        assert parse_access(line) is not None, line


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.one_of(st.just(b"GET"), hostile),
    path=hostile,
    version=st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/3.7", b""]),
    host=hostile,
    traceparent=hostile,
    request_id=hostile,
    forwarded=hostile,
)
def test_hostile_requests_leave_readable_lines(
    engines, method, path, version, host, traceparent, request_id, forwarded
):
    request = b"%b /%b %b\r\nHost: %b\r\ntraceparent: %b\r\nx-request-id: %b\r\nX-Forwarded-For: %b\r\n" % (
        *(method, path, version, host, traceparent, request_id, forwarded),
    )
    for engine in engines:
        since = len(engine.lines)
        raw(engine.port, request + b"Connection: close\r\n\r\n")
        settle(engine)
        assert_every_line_can_be_read(engine, since)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.one_of(st.binary(min_size=1, max_size=200), hostile.map(lambda text: text + b"\r\n\r\n")))
def test_bytes_that_are_no_request_leave_readable_lines(engines, noise):
    for engine in engines:
        since = len(engine.lines)
        raw(engine.port, noise, half_close=True)
        settle(engine)
        assert_every_line_can_be_read(engine, since)


@pytest.mark.parametrize(
    "value",
    [b'a"b\\c', b"caf\xc3\xa9", b"tab\there", b"%{+Q}o $status %[src]", b"</script>"],
)
def test_a_header_that_may_be_sent_is_logged_as_it_is(engines, value):
    for engine in engines:
        marker = secrets.token_hex(8).encode()
        head = b"GET /status/200?%b HTTP/1.1\r\nHost: a\r\nx-request-id: %b\r\n" % (marker, value)
        raw(engine.port, head + b"Connection: close\r\n\r\n")
        line = engine.wait_for(lambda line, marker=marker: line.startswith(b'{"log"') and marker in line)
        entry = parse_access(line)
        assert entry is not None
        assert entry.request_id == value.decode(), engine.name


def test_haproxy_leaves_out_what_is_beyond_the_basic_plane_and_keeps_the_rest(engines):
    haproxy = engines[1]
    marker = secrets.token_hex(8)
    value = "a\N{FOUR LEAF CLOVER}b"
    request = f"GET /{marker} HTTP/1.1\r\nHost: a\r\nx-request-id: {value}\r\nConnection: close\r\n\r\n"
    raw(haproxy.port, request.encode())
    entry = parse_access(haproxy.wait_for(lambda line: line.startswith(b'{"log"') and marker.encode() in line))

    assert entry is not None
    assert entry.request_id == "ab"


def test_a_connection_that_carries_nothing_leaves_no_line(engines):
    for engine in engines:
        settle(engine)
        since = len(engine.lines)
        raw(engine.port, b"", half_close=True)
        settle(engine)
        assert len(engine.lines[since:]) == 1, engine.lines[since:]


def test_a_long_path_is_logged_up_to_a_limit_and_stays_readable(engines):
    for engine in engines:
        since = len(engine.lines)
        raw(engine.port, b"GET /" + b'"' * 12000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        settle(engine)
        assert_every_line_can_be_read(engine, since)

"""The access line as a value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.functions.log import parse_access

LINE = {
    "log": "access",
    "time": 1795401793.499,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "request_id": "-",
    "client": "127.0.0.6",
    "method": "GET",
    "host": "shop.example",
    "path": "/?q=1",
    "protocol": "HTTP/1.1",
    "status": 200,
    "bytes": 415,
    "duration_ms": 1,
    "upstream": "-:-",
    "upstream_status": "-",
}


def text(**changes: object) -> str:
    return json.dumps({**LINE, **changes}, separators=(",", ":"))


def test_what_an_engine_has_nothing_to_say_about_is_empty():
    entry = parse_access(text())

    assert entry is not None
    assert (entry.request_id, entry.upstream, entry.upstream_status, entry.cache) == ("", "", "", None)
    assert (entry.status, entry.duration_ms, entry.host) == (200, 1.0, "shop.example")


def test_exponents_are_numbers():
    entry = parse_access(text().replace('"duration_ms":1', '"duration_ms":0.012e3').replace("1795401793.499", "5e-6"))

    assert entry is not None
    assert (entry.duration_ms, entry.time) == (12.0, 0.000005)


@pytest.mark.parametrize(
    "line", ["", "hello", '{"log":"access"', '{"log":"access"}', '{"transaction":{}}', text(status="x"), text(host=1)]
)
def test_any_other_line_is_none(line):
    assert parse_access(line) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(noise):
    parse_access(noise)
    parse_access(b'{"log":"access",' + noise)

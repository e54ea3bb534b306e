from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.telemetry.store.engine import EngineError
from clover.telemetry.store.frames import MalformedError, rows_of, varint
from clover.telemetry.store.rejects import insert_each
from harness import otlp_payloads as otlp


def test_an_export_request_is_cut_into_one_row_for_each_span():
    request = otlp.traces(otlp.span("a" * 16), otlp.span("b" * 16, service="waf"))

    first, second = rows_of(request)
    assert bytes.fromhex("a" * 16) in first
    assert b"http-lb" in first
    assert bytes.fromhex("b" * 16) in second
    assert b"waf" in second


def test_a_request_without_spans_has_no_rows():
    assert rows_of(b"") == []
    assert rows_of(otlp.traces()) == []


def test_what_is_no_request_is_malformed():
    with pytest.raises(MalformedError):
        rows_of(b"\x0a\x05abc")


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_malformed(request):
    try:
        rows = rows_of(request)
    except MalformedError:
        return
    assert all(isinstance(row, bytes) for row in rows)


@given(st.integers(min_value=0, max_value=2**63))
def test_a_length_is_written_as_protobuf_writes_it(number):
    value = 0
    for byte in reversed(varint(number)):
        value = value << 7 | byte & 127
    assert value == number
    assert all(byte & 128 for byte in varint(number)[:-1])


@given(st.lists(st.booleans(), max_size=40))
def test_only_the_bad_payloads_are_refused(good):
    payloads = [b"good" if fine else b"bad" for fine in good]
    stored: list[bytes] = []

    def insert(some):
        if b"bad" in some:
            raise EngineError("Code: 444. DB::Exception: corrupted")
        stored.extend(some)

    outcomes = insert_each(payloads, insert)

    assert [outcome is None for outcome in outcomes] == good
    assert stored == [b"good"] * sum(good)
    assert all(isinstance(outcome, MalformedError) for outcome in outcomes if outcome)


def test_when_there_is_no_space_nobody_is_accused_and_nothing_is_tried_again():
    tries = []

    def insert(some):
        tries.append(len(some))
        raise EngineError("Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space")

    outcomes = insert_each([b"a", b"b", b"c"], insert)

    assert tries == [3]
    assert all(isinstance(outcome, EngineError) and outcome.no_space for outcome in outcomes)

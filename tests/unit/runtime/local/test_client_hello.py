"""The name in a TLS client's first message: of real clients, and of whatever bytes come instead."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.runtime.local import client_hello
from clover.runtime.local.asked_names import UnreadableError


def hello(name):
    """Return the first bytes of a TLS client that asks for `name`; None: for nobody."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def message_in(data):
    """Return the message of the handshake in one record."""
    length = client_hello.record_length(data[: client_hello.RECORD_HEAD])
    return data[client_hello.RECORD_HEAD :][:length]


HELLO = message_in(hello("a.example.com"))


def test_the_name_that_a_real_client_asks_for_is_found():
    assert client_hello.is_whole(HELLO)
    assert client_hello.server_name_in(HELLO) == "a.example.com"


def test_a_client_that_asks_for_nobody_is_told_so():
    with pytest.raises(UnreadableError, match="says no server name"):
        client_hello.server_name_in(message_in(hello(None)))


@given(st.integers(0, len(HELLO) - 1))
def test_a_message_is_whole_with_its_last_byte_only(length):
    assert not client_hello.is_whole(HELLO[:length])


@given(st.integers(0, len(HELLO) - 1))
def test_a_message_that_is_cut_off_is_refused_or_has_the_name_already(length):
    with contextlib.suppress(UnreadableError):
        assert client_hello.server_name_in(HELLO[:length]) == "a.example.com"


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: HELLO[:60] + data))
def test_whatever_comes_is_a_name_or_refused(data):
    with contextlib.suppress(UnreadableError):
        assert isinstance(client_hello.server_name_in(data), str)


@given(st.integers(4, len(HELLO) - 1), st.integers(0, 255))
def test_a_broken_byte_does_no_harm(place, value):
    broken = bytearray(HELLO)
    broken[place] = value
    with contextlib.suppress(UnreadableError):
        assert isinstance(client_hello.server_name_in(bytes(broken)), str)


@pytest.mark.parametrize(
    "head", [b"\x17\x03\x01\x00\x01", b"\x16\x02\x01\x00\x01", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x40\x01"]
)
def test_what_is_no_record_of_a_handshake_is_refused(head):
    with pytest.raises(UnreadableError, match="no handshake"):
        client_hello.record_length(head)

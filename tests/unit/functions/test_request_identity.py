import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.functions.request_identity import address, client, trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "traceparent", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-more"]
)
def test_a_traceparent_names_a_trace_and_a_span(traceparent):
    assert trace_context(traceparent) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
    ],
)
def test_what_is_not_a_traceparent_names_nothing(text):
    assert trace_context(text) is None


def test_the_client_is_the_last_address_that_is_no_sidecars():
    assert client("203.0.113.9, 198.51.100.7") == "198.51.100.7"
    assert client("203.0.113.9,198.51.100.7, 127.0.0.6,127.0.0.6") == "198.51.100.7"
    assert client("2001:DB8::0:1") == "2001:db8::1"
    assert client("::ffff:192.0.2.1, 127.0.0.6") == "192.0.2.1"


@pytest.mark.parametrize(
    "forwarded_for", ["", "127.0.0.6", "192.0.2.1, unknown", "192.0.2.1, 192.0.2.2:80", "1.2.3.4,"]
)
def test_an_address_that_a_client_may_have_made_up_is_not_taken_for_the_one_that_is_missing(forwarded_for):
    assert client(forwarded_for) == ""


@given(st.text())
def test_no_text_is_too_strange(text):
    assert trace_context(text) is None or text[3:35] == trace_context(text).trace_id
    assert address(text) == "" or ipaddress.ip_address(address(text))
    assert client(text) == address(client(text))


def test_the_proxy_that_copies_a_request_appends_itself_and_is_not_the_client():
    assert client("203.0.113.9, 198.51.100.7,10.244.0.2", copied=True) == "198.51.100.7"
    assert client("198.51.100.7, 127.0.0.6, 10.244.0.5", copied=True) == "198.51.100.7"
    assert client("10.244.0.2", copied=True) == ""

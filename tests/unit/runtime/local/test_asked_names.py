"""What the way out reads from a proxy's bytes: names of hosts, or the reason why not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.runtime.local.asked_names import Asked, UnreadableError, asked_in, is_below, refusal

NAMES = st.from_regex(r"[a-z0-9_]([-a-z0-9_]{0,20}[a-z0-9_])?(\.[a-z]{1,9}){1,4}", fullmatch=True)
PORTS = st.sampled_from(["", ":80", ":65535"])
FIELDS = st.lists(
    st.tuples(
        st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True).filter(lambda name: name.lower() != "host"),
        st.from_regex(r"[ -~]{0,30}", fullmatch=True),
    ),
    max_size=5,
)
HOST = re.compile(r"[a-z0-9_][-a-z0-9_.]*")


def head(*lines):
    return "\r\n".join((*lines, "", "")).encode()


@given(NAMES, PORTS, FIELDS, FIELDS)
def test_the_host_of_a_request_is_found_among_other_headers(name, port, before, after):
    lines = [f"{field}: {value}" for field, value in before]
    more = [f"{field}: {value}" for field, value in after]

    assert asked_in(head("GET /x HTTP/1.1", *lines, f"hOsT: {name.upper()}{port}", *more)) == Asked(
        name=name, tunnel=False
    )


@given(NAMES, PORTS, FIELDS)
def test_connect_says_the_name_in_its_first_line_whatever_its_host(name, port, fields):
    lines = [f"{field}: {value}" for field, value in fields]

    assert asked_in(head(f"CONNECT {name}{port} HTTP/1.1", "host: other.example.com", *lines)) == Asked(
        name=name, tunnel=True
    )


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda first, lines: head(first, *lines),
        st.sampled_from(["GET / HTTP/1.1", "CONNECT a:443 HTTP/1.1", "CONNECT  HTTP/1.1", "PRI * HTTP/2.0"]),
        st.lists(st.text(st.sampled_from("hostHOST: \t\r\n\0ab.*é%[]"), max_size=20), max_size=4),
    )
)
def test_whatever_comes_is_a_host_name_or_a_reason(data):
    try:
        asked = asked_in(data)
    except UnreadableError:
        return
    assert HOST.fullmatch(asked.name)
    assert len(asked.name) <= 253


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["PRI * HTTP/2.0"], "this is not HTTP/1.1"),
        (["GET / HTTP/1.0", "Host: a.example.com"], "this is not HTTP/1.1"),
        (["GET / x HTTP/1.1", "Host: a.example.com"], "this is not HTTP/1.1"),
        (["GET http://b.example.com/ HTTP/1.1", "Host: a.example.com"], "'http://b.example.com/' is no path"),
        (["GET / HTTP/1.1"], "the request has 0 Host headers"),
        (["GET / HTTP/1.1", "Host: a.example.com", "host: b.example.com"], "the request has 2 Host headers"),
        (["GET / HTTP/1.1", "x: y", " Host: a.example.com"], "the request has a header that goes on in the next line"),
        (["GET / HTTP/1.1", "x: y\nHost: b.example.com", "Host: a.example.com"], "the request has a line that is none"),
        (["GET / HTTP/1.1", "Host: 127.0.0.1"], "'127.0.0.1' is not a host name"),
        (["GET / HTTP/1.1", "Host: [::1]:80"], "'[::1]:80' is not a host name"),
        (["GET / HTTP/1.1", "Host: a..example.com"], "'a..example.com' is not a host name"),
        (["GET / HTTP/1.1", "Host: a.example.com."], "'a.example.com.' is not a host name"),
        (["GET / HTTP/1.1", f"Host: {'a.' * 126}com"], f"{('a.' * 40)!r} is not a host name"),
        (["CONNECT :443 HTTP/1.1"], "':443' is not a host name"),
        (["CONNECT -:443 HTTP/1.1"], "'-:443' is not a host name"),
        (["CONNECT *.example.com:443 HTTP/1.1"], "'*.example.com:443' is not a host name"),
    ],
)
def test_what_names_nobody_is_refused_with_the_reason(lines, said):
    with pytest.raises(UnreadableError) as refused:
        asked_in(head(*lines))

    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("name", "wildcard", "below"),
    [
        ("a.example.com", "*.example.com", True),
        ("a.b.example.com", "*.example.com", True),
        ("example.com", "*.example.com", False),
        ("notexample.com", "*.example.com", False),
        ("a.example.com.evil.org", "*.example.com", False),
        ("a-x.example.com", "*-x.example.com", True),
        ("-x.example.com", "*-x.example.com", False),
    ],
)
def test_what_a_wildcard_stands_for(name, wildcard, below):
    assert is_below(name, wildcard) is below


def test_a_refusal_is_an_answer_with_its_reason():
    assert refusal("no").endswith(b"content-length: 3\r\nconnection: close\r\n\r\nno\n")

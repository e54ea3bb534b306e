"""What the way out prints is told of the ways that it is about."""

from __future__ import annotations

from clover.runtime.local.outside import Unreached, unreached_in
from clover.runtime.local.way_out import Way

WAYS = {
    "/out/api": Way(host="api.example.com", port=443),
    "/out/api_80": Way(host="api.example.com", port=80),
    "/out/six": Way(host="2001:db8::1", port=443),
    "/out/any": Way(host="*.example.org", port=443),
}


def heard(text: str) -> list[Unreached]:
    return unreached_in(text.encode(), WAYS)


def test_each_line_is_told_of_the_way_to_its_endpoint():
    line = "api.example.com:443: 192.0.2.1: Connection refused"

    assert heard(f"{line}\n") == [Unreached(socket="/out/api", words=line)]
    assert [one.socket for one in heard("2001:db8::1:443: no answer\n")] == ["/out/six"]


def test_a_name_below_a_wildcard_is_told_of_its_way():
    assert [one.socket for one in heard("www.example.org:443: x\nexample.net:443: x\n*.example.org:443: x\n")] == [
        "/out/any",
        "/out/any",
    ]


def test_what_is_about_no_endpoint_is_left_to_the_log():
    assert heard('Traceback (most recent call last):\n  File "x", line 3\nValueError: 443: x\n\xff\n:443: x\n') == []

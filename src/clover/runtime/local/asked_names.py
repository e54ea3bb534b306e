"""
Which name a proxy asks the way out for: the head of a request, or of a CONNECT, and what of it is believed.

The bytes come from a proxy, which has checked them, and what stands in them from a function, which may be anybody's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

END = b"\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"
_LABEL = r"[A-Za-z0-9_](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)(?::[0-9]{{1,5}})?")
_MOST_LETTERS = 253


class UnreadableError(ValueError):
    """Nobody can be connected; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a connection is for."""

    name: str
    """In small letters."""
    tunnel: bool
    """True: it was CONNECT, and the bytes behind the head are the other side's."""


def asked_in(head: bytes) -> Asked:
    """Read the head of an HTTP/1.1 request, which ends with its empty line. Raises UnreadableError."""
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    if any(odd in line for line in lines for odd in "\r\n\0"):
        raise UnreadableError("the request has a line that is none")
    first, *fields = lines
    method, target, version = (*first.split(" "), "", "")[:3]
    if version != "HTTP/1.1" or first.count(" ") != 2:
        raise UnreadableError("this is not HTTP/1.1")
    if method == "CONNECT":
        return Asked(name=named(target), tunnel=True)
    if not (target == "*" or target.startswith("/")):
        raise UnreadableError(f"{target[:80]!r} is no path")
    if any(line[:1] in " \t" for line in fields):
        raise UnreadableError("the request has a header that goes on in the next line")
    said = [value for name, _, value in (line.partition(":") for line in fields) if name.lower() == "host"]
    if len(said) != 1:
        raise UnreadableError(f"the request has {len(said)} Host headers")
    return Asked(name=named(said[0].strip(" \t")), tunnel=False)


def named(host: str) -> str:
    """Return the name in `name` or `name:port`; the port is that of the way. Raises UnreadableError."""
    found = _HOST.fullmatch(host)
    if not found or len(found[1]) > _MOST_LETTERS or found[1].rpartition(".")[2].isdigit():
        raise UnreadableError(f"{host[:80]!r} is not a host name")
    return found[1].lower()


def is_wildcard(host: str) -> bool:
    """Tell whether a way is to whatever name is asked for, below this one."""
    return host.startswith("*")


def is_below(name: str, wildcard: str) -> bool:
    """Tell whether a name is one that a wildcard (`*.example.com`) stands for."""
    return name.endswith(wildcard[1:]) and len(name) >= len(wildcard)


def refusal(why: str) -> bytes:
    """Return the answer to whoever cannot be connected."""
    body = f"{why}\n".encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\nconnection: close"
    return head.encode() + END + body

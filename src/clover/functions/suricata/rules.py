"""From the rules of a configuration to Suricata's own, with nothing in them that could reach beyond a request.

Suricata cuts a rule's options at each `;` that no backslash stands before, quotes or not. The search for forbidden
options is deliberately coarser: it looks behind every `;`, so that it finds at least what Suricata finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from clover.functions.templates import Vetting, Word
from clover.spec.configuration import HttpMatch, IdsRule

MOST_CONTENT_BYTES = 255
"""What Suricata takes as one `content`."""
MOST_RULE_BYTES = 8000
"""Suricata reads lines of 8192 bytes; what is longer would become a rule of its own."""
FORBIDDEN = (
    *("lua", "luajit", "luaxform"),  # run code
    *("filestore", "filemd5", "filesha1", "filesha256", "dataset", "datarep", "iprep"),  # read and write files
    *("bypass", "config", "replace"),  # change what happens to traffic, or what is recorded of it
)
"""Options of rules that do more than look at a request."""

_FIELDS = {
    "user-agent": "http.user_agent",
    "uri": "http.uri",
    "method": "http.method",
    "host": "http.host",
    # `http.header` would leave out cookies.
    "header": "http.header.raw",
    "body": "http.request_body",
}
_LINE = re.compile(r".+")
_SHAPE = re.compile(r"alert [^()]+\(.*;\s*\)", re.ASCII)
_OPTION = r"[(;]\s*(?:{})\s*(?=[:;])"
_FORBIDDEN = re.compile(rf"[(;]\s*({'|'.join(FORBIDDEN)})\s*[:;]", re.IGNORECASE)
_SID = re.compile(r"[(;]\s*sid\s*:\s*([^;]*?)\s*;", re.IGNORECASE)
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def lines(rules: Sequence[IdsRule], vetting: Vetting) -> tuple[Word, ...]:
    """Return the lines of the rule file; `vetting` is told of each rule that cannot be one."""
    return tuple(vetting.word(f"rule {rule.id}", text, _LINE) for rule in rules for text in _lines(rule, vetting))


def _lines(rule: IdsRule, vetting: Vetting) -> Iterator[str]:
    if rule.http is None:
        yield from _from_text(rule, vetting)
        return
    content = rule.http.contains.encode()
    if len(content) > MOST_CONTENT_BYTES:
        vetting.refuse(
            "CLV3283",
            f"looks in rule {rule.id} for {len(content)} bytes at once; Suricata takes {MOST_CONTENT_BYTES}",
            "look for a part of it",
        )
        return
    options = (
        f"msg:{_quoted(_message(rule))}",
        "flow:to_server",
        *_match(rule.http),
        f"priority:{rule.severity}",
        f"sid:{rule.id}",
    )
    yield f"alert http any any -> any any ({'; '.join(options)};)"


def _match(match: HttpMatch) -> Iterator[str]:
    content = match.contains.encode()
    yield _FIELDS[match.field]
    if match.field == "host":
        # Suricata keeps this one in lower case, and refuses to be asked for anything else.
        yield f'content:"{_escaped(content.lower())}"'
        return
    yield f'content:"{_escaped(content)}"'
    if not match.case_sensitive:
        yield "nocase"


def _escaped(content: bytes) -> str:
    """Return a content that means these bytes: all that is no letter or digit as hexadecimal."""
    parts = ((plain, bytes(group)) for plain, group in groupby(content, key=_PLAIN.__contains__))
    return "".join(part.decode("ascii") if plain else f"|{part.hex(' ')}|" for plain, part in parts)


def _quoted(message: str) -> str:
    return '"' + re.sub(r'(["\\;])', r"\\\1", message) + '"'


def _message(rule: IdsRule) -> str:
    """Return what an alert says; Suricata takes no empty one, and cuts the spaces around it."""
    return rule.message.strip() or f"rule {rule.id}"


def _from_text(rule: IdsRule, vetting: Vetting) -> Iterator[str]:
    text = rule.text.strip()
    if _SHAPE.fullmatch(text) is None:
        vetting.refuse(
            "CLV3280",
            f"has a rule {rule.id} that is not one rule with the action 'alert'",
            "expected: alert PROTOCOL ADDRESS PORT -> ADDRESS PORT (OPTION; OPTION;)",
        )
        return
    refused = False
    for name in dict.fromkeys(found.lower() for found in _FORBIDDEN.findall(text)):
        vetting.refuse(
            "CLV3282",
            f"has a rule {rule.id} with the option {name!r}; rules of a chain only look at requests",
            f"write it without {', '.join(FORBIDDEN)}",
        )
        refused = True
    if wrong := [sid for sid in _SID.findall(text) if sid != str(rule.id)]:
        vetting.refuse(
            "CLV3281", f"has a rule {rule.id} with the sid {wrong[0]!r}", "leave the sid out, or write the id"
        )
        refused = True
    missing = [
        option
        for option, others in (
            (f"msg:{_quoted(_message(rule))}", "msg"),
            (f"priority:{rule.severity}", "priority|classtype"),
            (f"sid:{rule.id}", "sid"),
        )
        if re.search(_OPTION.format(others), text, re.IGNORECASE) is None
    ]
    whole = f"{text[:-1].rstrip()} {'; '.join(missing)};)" if missing else text
    if len(whole.encode()) > MOST_RULE_BYTES:
        length = len(whole.encode())
        vetting.refuse("CLV3280", f"has a rule {rule.id} of {length} bytes; Suricata takes {MOST_RULE_BYTES}")
        refused = True
    if not refused:
        yield whole

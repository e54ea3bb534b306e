"""From the rules of a configuration to Snort's own, with nothing in them that could reach beyond a request.

Snort's rule files are one stream of words: a comment or a text that does not end swallows what follows, lines or not.
So a rule that somebody wrote is taken apart the way Snort does it, and must end where its line ends.

`rev` is Clover's: it tells the reader of alerts whether the record shows the head of the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from clover.functions.templates import Vetting, Word
from clover.spec.configuration import HttpMatch, IdsRule

SAW_HEAD = 2
"""Revision of a rule that looks at the heads of requests alone: what its alerts show is the head."""
SAW_ANYTHING = 1
"""Revision of any other: what its alerts show may be a body, in which a client can write what looks like a head."""
FORBIDDEN = (
    *("luajit", "so", "soid", "enable"),  # run code, or decide whether a rule runs
    *("replace", "tag", "gid"),  # change traffic, record it, or pretend to be another rule
)
"""Options of rules that do more than look at a request."""
_FIELDS = {
    "user-agent": "http_header:field user-agent",
    "uri": "http_uri",
    "method": "http_method",
    "host": "http_header:field host",
    # `http_header` would leave out cookies.
    "header": "http_raw_header",
    "body": "http_raw_body",
}
_OF_HEADS = frozenset(
    {
        *("http_uri", "http_raw_uri", "http_decoded_uri", "http_method", "http_version", "http_raw_request"),
        *("http_header", "http_raw_header", "http_cookie", "http_raw_cookie", "http_header_test", "http_num_headers"),
        *("http_true_ip", "http_num_cookies", "http_version_match"),
    }
)
_ABOUT_THE_RULE = frozenset({"msg", "flow", "sid", "rev", "priority", "classtype", "reference", "metadata", "rem"})
_WITHIN_A_BUFFER = frozenset({"content", "pcre", "regex", "isdataat", "bufferlen"})
_LINE = re.compile(r".+")
_HEADER = re.compile(r"alert(?:[ \t]+[A-Za-z0-9_$!.,:\[\]/<>-]+){1,6}[ \t]*\(", re.ASCII)
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_HINT = "expected: alert http ( OPTION; OPTION; )"


def lines(rules: Sequence[IdsRule], vetting: Vetting) -> tuple[Word, ...]:
    """Return the lines of the rule file; `vetting` is told of each rule that cannot be one."""
    return tuple(vetting.word(f"rule {rule.id}", text, _LINE) for rule in rules for text in _lines(rule, vetting))


def _lines(rule: IdsRule, vetting: Vetting) -> Iterator[str]:
    if rule.http is None:
        yield from _from_text(rule, vetting)
        return
    options = (
        f'msg:"{_message(rule)}"',
        "flow:to_server",
        *_match(rule.http),
        f"priority:{rule.severity}",
        f"sid:{rule.id}",
        f"rev:{SAW_ANYTHING if rule.http.field == 'body' else SAW_HEAD}",
    )
    yield _rule("alert http (", options)


def _rule(header: str, options: Sequence[str]) -> str:
    return f"{header} {'; '.join(options)}; )"


def _match(match: HttpMatch) -> Iterator[str]:
    yield _FIELDS[match.field]
    parts = ((plain, bytes(group)) for plain, group in groupby(match.contains.encode(), key=_PLAIN.__contains__))
    content = "".join(part.decode("ascii") if plain else f"|{part.hex(' ')}|" for plain, part in parts)
    yield f'content:"{content}"' + ("" if match.case_sensitive else ",nocase")


def _message(rule: IdsRule) -> str:
    """Return what an alert says, without quotes and backslashes: Snort writes it into its records as it is."""
    return rule.message.strip().translate(str.maketrans('"\\;', "'/,")) or f"rule {rule.id}"


def _from_text(rule: IdsRule, vetting: Vetting) -> Iterator[str]:
    text = rule.text.strip()
    header = _HEADER.match(text)
    options = _options(text[header.end() :]) if header else None
    if header is None or options is None:
        vetting.refuse("CLV3260", f"has a rule {rule.id} that is not one whole rule with the action 'alert'", _HINT)
        return
    names = [_name(option) for option in options]
    refused = False
    for name in dict.fromkeys(name for name in names if name in FORBIDDEN):
        what = f"has a rule {rule.id} with the option {name!r}; rules of a chain only look at requests"
        vetting.refuse("CLV3262", what, f"write it without {', '.join(FORBIDDEN)}")
        refused = True
    for name, option in zip(names, options, strict=True):
        value = option.partition(":")[2].strip()
        if name == "sid" and value != str(rule.id):
            what = f"has a rule {rule.id} with the sid {value!r}"
            vetting.refuse("CLV3261", what, "leave the sid out, or write the id")
            refused = True
        if name == "msg" and re.fullmatch(r'"[^"\\]+"', value) is None:
            what = f"has a rule {rule.id} whose msg is {value!r}; Snort would write records that cannot be read"
            vetting.refuse("CLV3263", what, "write it in quotes, without quotes and backslashes inside")
            refused = True
    if refused:
        return
    missing = (
        ("msg", f'msg:"{_message(rule)}"', {"msg"}),
        ("priority", f"priority:{rule.severity}", {"priority", "classtype"}),
        ("sid", f"sid:{rule.id}", {"sid"}),
    )
    own = [option for name, option in zip(names, options, strict=True) if name != "rev"]
    own.extend(option for _, option, others in missing if not others.intersection(names))
    own.append(f"rev:{SAW_HEAD if _looks_at_heads_alone(names) else SAW_ANYTHING}")
    yield _rule(header[0], own)


def _looks_at_heads_alone(names: Sequence[str]) -> bool:
    """Whether every option looks at a part of the head; without a part named in front, it looks at raw packets."""
    looking = [name for name in names if name not in _ABOUT_THE_RULE]
    return bool(looking) and looking[0] in _OF_HEADS and set(looking) <= _OF_HEADS | _WITHIN_A_BUFFER


def _name(option: str) -> str:
    return option.partition(":")[0].strip().lower()


def _options(text: str) -> list[str] | None:
    """Return the options of a rule from behind its `(`; None when the rule does not end with the text."""
    options: list[str] = []
    option, quoted, escaped = "", False, False
    for place, sign in enumerate(text):
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign == ")":
            ends = place == len(text) - 1 and not option.strip()
            return (options or None) if ends else None
        elif sign == ";":
            if not option.strip():
                return None
            options.append(option.strip())
            option = ""
            continue
        elif sign in "#\\(" or text.startswith("/*", place):
            return None
        option += sign
    return None

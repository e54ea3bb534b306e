"""From an author's rules to rules of ModSecurity, such that no text of the author's is read as its language.

Every operator becomes `@rx`, because a regular expression is the one operand in which any byte can be written as
`\\xHH`: what ends a string, begins a macro (`%{...}`) or separates words never stands there as itself. Messages have no
such escape; the four characters that mean something in them are replaced by look-alikes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import re2  # type: ignore[import-untyped,unused-ignore]

from clover.functions.templates import Word
from clover.spec.configuration import FirewallRule

OWN_RULES = range(10_000, 11_000)
"""Ids that Clover's own rules have, in front of the author's and the Core Rule Set's."""
PATTERN = re.compile(r"(?:[!#$&(-\[\]-_a-~]|\\[!#$&(-\[\]-_a-~])+", re.ASCII)
"""A regular expression without a character that ModSecurity reads; a backslash escapes what follows it."""
MESSAGE = re.compile(r"""[^\\"'%]+""")
_ALIKE = str.maketrans({"'": "’", '"': "”", "%": "％", "\\": "＼"})
_CHARACTER_ESCAPE = r"\\(?:[dDwWsSafnrt]|[AbBz](?![*+?{])|x[0-9A-Fa-f]{2}|[!-/:-@\[-`{-~ ])"
_CLASS_ITEM = r"\[:\^?[a-z]+:\]|\\(?:[dDwWsS](?!-[^\]])|[afnrt]|x[0-9A-Fa-f]{2}|[!-/:-@\[-`{-~ ])|[^\\\[\]]"
_TOKEN = re.compile(
    rf"(?P<opening>\[\^?)(?P<items>(?:{_CLASS_ITEM})+)\]|(?P<escape>{_CHARACTER_ESCAPE})"
    r"|(?P<group>\((?!\?)|\(\?(?:[is]*(?:-[is]+)?[:)](?![*+?{])|P<[A-Za-z_]\w{0,30}>))|(?P<other>[$^](?![*+?{])|[^\\(\[$^])",
    re.ASCII,
)
"""What the regular expressions of RE2 and of PCRE have in common, and mean alike."""
_CLASS_TOKEN = re.compile(r"\[:\^?[a-z]+:\]|\\x..|\\.|.", re.DOTALL)

VARIABLES = {
    "uri": "REQUEST_URI_RAW",
    "path": "REQUEST_FILENAME",
    "query": "QUERY_STRING",
    "method": "REQUEST_METHOD",
    "body": "REQUEST_BODY",
    "user-agent": "REQUEST_HEADERS:User-Agent",
    "header": "REQUEST_HEADERS:{name}",
    "argument": "ARGS:{name}|ARGS:json.{name}",
    "cookie": "REQUEST_COOKIES:{name}",
}
_VARIABLE = re.compile(r"[A-Z_]+(?::[A-Za-z0-9_.-]+)?(?:\|ARGS:json\.[A-Za-z0-9_-]+)?", re.ASCII)
# `multiMatch` looks at the text as it came and once more after each step that changed it, so that neither an encoded
# attack nor a rule about an encoding is missed.
_BEFORE_AND_AFTER = {
    "uri": "t:none,t:urlDecodeUni,multiMatch",
    "path": "t:none,t:normalizePath,multiMatch",
    "query": "t:none,t:urlDecodeUni,multiMatch",
    "body": "t:none,t:urlDecodeUni,multiMatch",
    "cookie": "t:none,t:urlDecodeUni,multiMatch",
}
_TRANSFORMATION = re.compile(r"t:none(?:,t:[A-Za-z]+,multiMatch)?", re.ASCII)
_AROUND = {
    "contains": ("", ""),
    "equals": (r"\A", r"\z"),
    "begins-with": (r"\A", ""),
    "ends-with": ("", r"\z"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, in words that a template may print."""

    id: int
    variables: Word
    pattern: Word
    phase: int
    """1: as soon as the head is there; 2: when the body is, too."""
    transformations: Word
    blocks: bool
    message: Word


def rule_from(rule: FirewallRule) -> Rule:
    """Return the rule for ModSecurity. Raises ValueError if its value is no regular expression that may be used."""
    return Rule(
        id=rule.id,
        variables=Word(VARIABLES[rule.target].format(name=rule.name), _VARIABLE),
        pattern=_pattern(rule),
        phase=2 if rule.target in ("body", "argument") else 1,
        transformations=Word(_BEFORE_AND_AFTER.get(rule.target, "t:none"), _TRANSFORMATION),
        blocks=rule.action == "block",
        message=message(rule.message or f"Rule {rule.id} of this firewall"),
    )


def message(text: str) -> Word:
    """Return the text of a message; quotes, `%` and `\\` become characters that look like them."""
    return Word(text.translate(_ALIKE), MESSAGE)


def literal(text: str) -> str:
    """Return the regular expression that matches exactly these bytes."""
    return "".join(_byte(byte) for byte in text.encode())


def expression(text: str) -> str:
    """
    Return a regular expression of the author's with nothing in it that ModSecurity reads.

    It must be one that RE2 takes, so without back-references and look-around, and be written with what RE2 and the
    engine (PCRE) read alike: the engine never applies a rule that it cannot compile, and does not say so. Letters
    beyond ASCII are bytes to the engine. Raises ValueError with what is wrong.
    """
    if not text.isascii():
        raise ValueError("a regular expression is written in ASCII; other letters as bytes, `\\xHH`")
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        re2.compile(text.encode(), options)
    except re2.error as refused:
        raise ValueError(f"not a regular expression that RE2 takes: {refused.args[0].decode()}") from None
    retold = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(
                f"engines differ about what {text[position : position + 8]!r} means in a regular expression"
            )
        position = token.end()
        if token["items"]:
            # `[.`, `[=` and `[:` begin something of their own in PCRE.
            items = "".join(_retold(item, "\"'%`\\ .=:") for item in _CLASS_TOKEN.findall(token["items"]))
            retold.append(f"{token['opening']}{items}]")
        else:
            retold.append(_retold(token[0], "\"'%`\\ "))
    return "".join(retold)


def _pattern(rule: FirewallRule) -> Word:
    if rule.operator == "regex":
        return Word(expression(rule.value), PATTERN)
    before, after = _AROUND[rule.operator]
    return Word(f"{before}{literal(rule.value)}{after}", PATTERN)


def _byte(byte: int) -> str:
    character = chr(byte)
    if character.isascii() and (character.isalnum() or character in "/_-=:,;<>@!&~"):
        return character
    return rf"\{character}" if character in "[].^$*+?(){}|" else rf"\x{byte:02x}"


def _retold(token: str, unsafe: str) -> str:
    """Return one element of a regular expression; as `\\xHH` when it is one of these characters, escaped or not."""
    character = token[-1]
    if len(token.removeprefix("\\")) == 1 and character in unsafe:
        return rf"\x{ord(character):02x}"
    return token


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Ids of rules without a gap."""

    first: int
    last: int


def ranges_from(ids: Iterable[int]) -> list[Range]:
    """Return the ids as few ranges: ModSecurity asks all of them before each rule of each request."""
    ranges: list[Range] = []
    for number in sorted(set(ids)):
        if ranges and number == ranges[-1].last + 1:
            ranges[-1] = Range(first=ranges[-1].first, last=number)
        else:
            ranges.append(Range(first=number, last=number))
    return ranges

"""
Is this a condition that Envoy takes? A reader of the part of CEL (Common Expression Language) that proxies carry out.

Envoy refuses the whole listener for a condition that it cannot read, and for a function that it does not have; a name
that it does not know makes a condition that never holds. All three are found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clover.mesh.istio.expressions import regex_problem
from clover.mesh.istio.finding import nearest

_NAMES = frozenset(
    {
        "connection",
        "destination",
        "filter_state",
        "metadata",
        "request",
        "response",
        "source",
        "upstream",
        "upstream_filter_state",
        "xds",
    }
)
"""What a condition may ask about."""
_FUNCTIONS = {
    "double": (1,),
    "duration": (1,),
    "has": (1,),
    "int": (1,),
    "matches": (2,),
    "size": (1,),
    "timestamp": (1,),
    "uint": (1,),
}
_CLOCK = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes", "Seconds")
_METHODS = {
    "contains": (1,),
    "endsWith": (1,),
    "matches": (1,),
    "size": (0,),
    "startsWith": (1,),
    **{f"get{part}": (0, 1) for part in (*_CLOCK, "Milliseconds")},
}
"""By name, how many arguments there may be."""
_RESERVED = frozenset(
    {
        *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "package", "return", "var", "void", "while"),
    }
)
_CONSTANTS = frozenset({"true", "false", "null"})
_LONGEST = 2000
_DEEPEST = 12
"""Envoy reads no more than 32 of its own steps into an expression, and takes up to two for one of ours."""
_LARGEST_PROGRAM = 100
"""Envoy's limit for an expression in `matches`, in RE2's instructions."""
_ESCAPE = r"\\(?:[abfnrtv\\?\"'`]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-3][0-7]{2})"
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<text>"(?:[^"\\\n\r]|{_ESCAPE})*"|'(?:[^'\\\n\r]|{_ESCAPE})*'|[rR](?:"[^"\n\r]*"|'[^'\n\r]*'))
      | (?P<number>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]{{1,2}})?|0x[0-9a-fA-F]{{1,15}}u?|[0-9]{{1,18}}u?)(?![\w.]))
      | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
      | (?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.ASCII,
)


def cel_problem(text: str) -> str:
    """Return what is wrong with a condition; empty: Envoy takes it, and it may hold."""
    if len(text) > _LONGEST:
        return f"the condition is longer than {_LONGEST} characters"
    try:
        reader = _Reader(_tokens(text))
        reader.condition()
        reader.take("end")
    except _UnreadableError as error:
        return str(error)
    return ""


class _UnreadableError(Exception):
    """Says what is wrong with a condition."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


@dataclass(frozen=True, slots=True)
class _Part:
    """What has been read of a condition: how deep it is, and what one must know of it."""

    depth: int
    field: bool = False
    """True: it ends in the name of a field, so that `has` can ask for it."""
    text: str | None = None
    """The value of a text."""


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    place = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, place)
        if match is None:
            rest = text[place:].lstrip()
            raise _UnreadableError(f"{rest[:20]!r} at character {len(text) - len(rest) + 1} cannot be read")
        kind = match.lastgroup or ""
        found.append(_Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return found


class _Reader:
    """Reads a condition from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._within = 0

    def take(self, *wanted: str) -> str:
        """Return the next token, which is one of those wanted."""
        token = self._tokens[self._at]
        if token.text not in wanted and token.kind not in wanted:
            found = repr(token.text[:20]) if token.text else "the end"
            expected = " or ".join(repr(want) for want in wanted)
            raise _UnreadableError(f"there is {found} at character {token.place + 1}, expected {expected}")
        self._at += 1
        return token.text

    def _next_is(self, *signs: str) -> bool:
        token = self._tokens[self._at]
        return token.text in signs and token.kind in ("sign", "name")

    def condition(self) -> _Part:
        """Read `or`, or a choice between two others."""
        self._within += 1
        if self._within > _DEEPEST:
            raise self._too_deep()
        part = self._any()
        if self._next_is("?"):
            self.take("?")
            first = self._any()
            self.take(":")
            part = self._deeper(part, first, self.condition())
        self._within -= 1
        return part

    def _any(self) -> _Part:
        return self._chain(self._all, "||", deeper=False)

    def _all(self) -> _Part:
        return self._chain(self._relation, "&&", deeper=False)

    def _relation(self) -> _Part:
        return self._chain(self._sum, "<", "<=", ">=", ">", "==", "!=", "in")

    def _sum(self) -> _Part:
        return self._chain(self._product, "+", "-")

    def _product(self) -> _Part:
        return self._chain(self._single, "*", "/", "%")

    def _chain(self, inner: Callable[[], _Part], *signs: str, deeper: bool = True) -> _Part:
        part = inner()
        while self._next_is(*signs):
            self.take(*signs)
            other = inner()
            # `&&` and `||` of many are no deeper than of two.
            part = self._deeper(part, other) if deeper else _Part(max(part.depth, other.depth))
        return part

    def _single(self) -> _Part:
        if self._next_is("!", "-"):
            sign = self.take("!", "-")
            if self._next_is(sign):
                raise _UnreadableError(f"there are two {sign!r} in a row")
            return self._deeper(self._member())
        return self._member()

    def _member(self) -> _Part:
        part = self._primary()
        while self._next_is(".", "["):
            if self.take(".", "[") == "[":
                part = self._deeper(part, self.condition())
                self.take("]")
                continue
            name = self._name()
            if self._next_is("("):
                part = self._deeper(part, *self._arguments(name, _METHODS))
            else:
                part = _Part(self._deeper(part).depth, field=True)
        return part

    def _primary(self) -> _Part:
        if self._next_is("("):
            self.take("(")
            part = self.condition()
            self.take(")")
            return _Part(part.depth + 1)
        if self._next_is("["):
            self.take("[")
            return self._deeper(*self._listed("]"))
        match self._tokens[self._at].kind:
            case "text":
                return _Part(1, text=_unquoted(self.take("text")))
            case "number":
                self.take("number")
                return _Part(1)
        if self._next_is(*_CONSTANTS):
            self.take(*_CONSTANTS)
            return _Part(1)
        name = self._name()
        if self._next_is("("):
            return self._deeper(*self._arguments(name, _FUNCTIONS))
        if name not in _NAMES:
            hint = nearest(name, _NAMES) or f"there are {', '.join(sorted(_NAMES))}"
            raise _UnreadableError(f"nothing is called {name[:40]!r}; {hint}")
        return _Part(1)

    def _name(self) -> str:
        place = self._tokens[self._at].place
        name = self.take("name")
        if name in _RESERVED or name in _CONSTANTS:
            raise _UnreadableError(f"{name!r} at character {place + 1} is a word of the language, expected a name")
        return name

    def _arguments(self, name: str, known: Mapping[str, tuple[int, ...]]) -> list[_Part]:
        if name not in known:
            raise _UnreadableError(f"proxies have no function {name[:40]!r}; there are {', '.join(sorted(known))}")
        self.take("(")
        given = self._listed(")")
        if len(given) not in known[name]:
            raise _UnreadableError(f"{name!r} takes {known[name][0]} arguments, {len(given)} are given")
        if name == "has" and not given[0].field:
            raise _UnreadableError("'has' asks for a field: has(request.headers)")
        if name == "matches":
            self._check_pattern(given[-1])
        return given

    def _check_pattern(self, pattern: _Part) -> None:
        if pattern.text is None:
            raise _UnreadableError("the expression in 'matches' must be written out")
        if problem := regex_problem(pattern.text, most=_LARGEST_PROGRAM):
            raise _UnreadableError(problem)

    def _listed(self, end: str) -> list[_Part]:
        found: list[_Part] = []
        while not self._next_is(end):
            found.append(self.condition())
            if not self._next_is(end):
                self.take(",")
                if self._next_is(end):
                    raise _UnreadableError(f"there is a ',' before {end!r}")
        self.take(end)
        return found

    def _deeper(self, *parts: _Part) -> _Part:
        depth = 1 + max((part.depth for part in parts), default=0)
        if depth > _DEEPEST:
            raise self._too_deep()
        return _Part(depth)

    def _too_deep(self) -> _UnreadableError:
        place = self._tokens[self._at].place
        return _UnreadableError(f"at character {place + 1} the condition is nested more than {_DEEPEST} times")


def _unquoted(text: str) -> str | None:
    """Return the value of a text; None: it has escapes, which nobody needs to know here."""
    if text[0] in "rR":
        return text[2:-1]
    return None if re.search(r"\\[^\\]", text.replace("\\\\", "")) else text[1:-1].replace("\\\\", "\\")

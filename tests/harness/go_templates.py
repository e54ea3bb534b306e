"""
Go's text templates, as far as Istio's benchmark inputs use them: loops over `until N`, variables, `div` and `mod`.

Anything else is an error that names it, so that a file which needs more is noticed.
"""

import re
from collections.abc import Callable, Iterator, Mapping

_ACTION = re.compile(r"(?P<trim>\s*(?=\{\{-))?\{\{-?\s*(?P<words>.*?)\s*(?:-\}\}\s*|\}\})", re.DOTALL)
_FUNCTIONS: Mapping[str, Callable[..., int]] = {"div": lambda a, b: a // b, "mod": lambda a, b: a % b}

Scope = Mapping[str, int]
"""Name as it is written (`.Services`, `$i`) → value."""


def render(text: str, **values: int) -> str:
    """Return a template with its values (`Services=100`) put in."""
    known = {prefix + name: value for name, value in values.items() for prefix in (".", "$.")}
    tokens = iter(_tokens(text))
    return "".join(_block(list(tokens), known))


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    """Yield what is written between actions, and the words of the actions (True)."""
    end = 0
    for action in _ACTION.finditer(text):
        yield False, text[end : action.start()]
        yield True, action["words"]
        end = action.end()
    yield False, text[end:]


def _block(tokens: list[tuple[bool, str]], scope: Scope) -> Iterator[str]:
    place = 0
    while place < len(tokens):
        is_action, words = tokens[place]
        place += 1
        if not is_action:
            yield words
        elif loop := re.fullmatch(r"range (\$\w+) := until (\S+)", words):
            end = _end_of(tokens, place)
            for value in range(_value(loop[2], scope)):
                yield from _block(tokens[place:end], {**scope, loop[1]: value})
            place = end + 1
        else:
            yield str(_value(words, scope))


def _end_of(tokens: list[tuple[bool, str]], place: int) -> int:
    """Return where the `end` of the block that begins at `place` stands."""
    depth = 1
    for index in range(place, len(tokens)):
        is_action, words = tokens[index]
        depth += is_action and words.startswith("range ")
        depth -= is_action and words == "end"
        if depth == 0:
            return index
    raise ValueError("a `range` has no `end`")


def _value(words: str, scope: Scope) -> int:
    name, *arguments = words.split()
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](*(_value(argument, scope) for argument in arguments))
    if not arguments and name in scope:
        return scope[name]
    if not arguments and name.isdecimal():
        return int(name)
    raise ValueError(f"this is no action that is known here: {words!r}")

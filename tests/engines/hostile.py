"""Strings that want to be more than a string, and how to see that they are none."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from clover.errors import FunctionError
from clover.functions.driver import Driver, Program, Settings

fragments = st.sampled_from(
    [
        *('"', "'", "\\", ";", "{", "}", "#", "$", "%", "\n", "\r", "\t", " ", "\x00", "\x7f", "\x85", "\u2028", "é"),
        *("${host}", "%[src]", "{{ 7*7 }}", "{% raw %}", 'x"; return 200 "pwned', "a\n    server evil 127.0.0.1:1"),
        *("a;}server{listen 1;}", "a check inter 1", "unix:/run/x.sock", "fd@3", "*:80", "[::1]", "-", ".", "a", "z9"),
        *("SecRuleEngine Off", "..", "/", "//", "*", "?", "~", "a b", "0", "1e3", "ſ", "Ⅷ", "٣"),
    ]
)
hostile = st.lists(fragments, min_size=1, max_size=4).map("".join) | st.text(max_size=12)

REFUSALS = {"CLV3002", "CLV3201", "CLV3203"}
"""Codes of what a driver says about a string."""
_NGINX_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<end>[{};])|(?P<word>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{[^}]*\}|[^\s{};\\])+)""",
    re.DOTALL,
)


def rendered(driver: Driver, given_: Settings) -> Program | None:
    """Return the program, or None when the settings are refused as they should be."""
    try:
        return driver.render(given_)
    except FunctionError as refused:
        if not {problem.code for problem in refused.problems} <= REFUSALS:
            raise
        return None


def skeleton(program: Program) -> dict[str, list[tuple[int, str]]]:
    """Return what a name must not change: the words of each line, and everything that separates words."""
    return {
        name: [(len(line.split()), re.sub(r"[^{};\"'\\\\$%#]", "", line)) for line in text.splitlines()]
        for name, text in program.files.items()
    }


def structure(configuration: str) -> list[str]:
    """Return what is left of an nginx configuration when words are only words, and variables only variables."""
    found, at = [], 0
    while at < len(configuration):
        token = _NGINX_TOKEN.match(configuration, at)
        assert token is not None, configuration[at : at + 200]
        at = token.end()
        if token["end"]:
            found.append(token["end"])
        elif token["word"]:
            found.append("$" if "$" in token["word"] else "word")
    return found

"""Is this an expression that Envoy takes? Asked of the same RE2 that Envoy is built with."""

from __future__ import annotations

import re2  # type: ignore[import-untyped,unused-ignore]

MAX_PROGRAM_SIZE = 32768
"""Largest compiled expression: what the proxies' bootstrap sets as `re2.max_program_size.error_level`, as on Istio."""
_MAX_BYTES = 16384
"""Longest text of an expression; a longer one is not somebody's rule."""


def regex_problem(pattern: str, *, most: int = MAX_PROGRAM_SIZE) -> str:
    """Return what is wrong with an expression; empty: Envoy takes it, where it takes `most` instructions."""
    compiled = _compiled(pattern)
    if isinstance(compiled, str):
        return compiled
    if compiled.programsize > most:
        return f"the regex compiles to {compiled.programsize} instructions, proxies take at most {most}"
    return ""


def program_size(pattern: str) -> int:
    """Return how many instructions an expression compiles to; 0: it is none."""
    compiled = _compiled(pattern)
    return 0 if isinstance(compiled, str) else int(compiled.programsize)


def substitution_problem(pattern: str, substitution: str) -> str:
    """Return what is wrong with the `\\1` references of a substitution; Envoy would skip the rewrite in silence."""
    compiled = _compiled(pattern)
    if isinstance(compiled, str):
        return ""  # the pattern is reported for itself
    position = 0
    while (position := substitution.find("\\", position)) >= 0:
        follower = substitution[position + 1 : position + 2]
        if follower.isascii() and follower.isdigit():
            if int(follower) > compiled.groups:
                return f"'\\{follower}' refers to a group, and the pattern has {compiled.groups}"
        elif follower != "\\":
            return "a backslash stands before something that is neither a digit nor a backslash"
        position += 2
    return ""


def _compiled(pattern: str) -> re2._Regexp | str:
    """Return the compiled expression, or what is wrong with it."""
    if len(pattern.encode("utf-8", "replace")) > _MAX_BYTES:
        return f"the regex is longer than {_MAX_BYTES} bytes"
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        return f"the regex is not RE2: {text[:120]}"

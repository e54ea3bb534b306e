"""The name that somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 100
"""Comparing takes time in the square of the length, and nobody misspells a name this long."""


def did_you_mean(name: str, candidates: Iterable[str], *, otherwise: str = "") -> str:
    """Return the hint that offers the nearest of `candidates`, or `otherwise` when none is near."""
    if len(name) > _LONGEST:
        return otherwise
    near = get_close_matches(name, [str(name) for name in candidates if len(name) <= _LONGEST], n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise

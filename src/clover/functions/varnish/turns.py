"""Weights as turns: Varnish's round robin knows no weights, so a backend stands in the round as often as it weighs."""

from __future__ import annotations

import math
from collections.abc import Sequence

MOST_TURNS = 256
"""A longer round would take the C compiler seconds (16,000 turns: 15 s); weights that need more are rounded to it."""


def turns_from(weights: Sequence[int]) -> tuple[int, ...]:
    """Return one round: indices of the weights, each as often as it weighs, spread as evenly as can be."""
    if not weights:
        return ()
    counts = _counts(weights)
    length = sum(counts)
    standing = [0] * len(counts)
    turns = []
    for _ in range(length):
        standing = [stands + count for stands, count in zip(standing, counts, strict=True)]
        first = max(range(len(counts)), key=standing.__getitem__)
        standing[first] -= length
        turns.append(first)
    return tuple(turns)


def _counts(weights: Sequence[int]) -> list[int]:
    divisor = math.gcd(*weights)
    counts = [weight // divisor for weight in weights]
    if (total := sum(counts)) <= MOST_TURNS:
        return counts
    # Nobody is rounded away.
    return [max(1, round(MOST_TURNS * count / total)) for count in counts]

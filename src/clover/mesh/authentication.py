"""Whose tokens a workload believes: request authentication in the intermediate form, below `ir`, which carries it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """All issuers of tokens that one workload believes."""


NO_TOKENS = Authentication()
"""Nobody's tokens are read."""

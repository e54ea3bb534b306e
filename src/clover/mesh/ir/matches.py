"""Which requests are meant: tests of their path, headers, query and token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MatchKind(StrEnum):
    """How a string is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    PATH_PREFIX = "path-prefix"
    """Whole segments of a path, `/shop` for `/shop` and `/shop/cart`; for paths alone, and without a `/` at the end."""
    REGEX = "regex"
    """RE2, and the whole string must match."""
    PRESENT = "present"


@dataclass(frozen=True, slots=True, kw_only=True)
class StringMatch:
    """A test of one string."""

    kind: MatchKind
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMatch:
    """A test of one header or query parameter; `:method`, `:authority` and `:scheme` are headers too."""

    name: str
    match: StringMatch
    invert: bool = False
    """True: the request matches when the test fails, or when the header is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMatch:
    """A test of what a request's token says: of a text, or of each in a list of texts."""

    path: tuple[str, ...]
    """The claim, after the claims that it is nested in."""
    match: StringMatch
    invert: bool = False
    """True: the request matches when the test fails, or when there is no such claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMatch:
    """Which requests a route takes: all tests must hold; no test means every request."""

    path: StringMatch | None = None
    headers: tuple[NamedMatch, ...] = ()
    query: tuple[NamedMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()

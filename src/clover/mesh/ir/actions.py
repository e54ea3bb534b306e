"""What becomes of a request: it is sent on, sent elsewhere, or answered."""

from __future__ import annotations

from dataclasses import dataclass

from clover.mesh.ir.headers import NO_CHANGES, HeaderChanges

NOWHERE = "NoBackend"
"""No cluster: requests of this share are answered with the `nowhere_status` of their route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedCluster:
    """A share of a route's traffic."""

    cluster: str
    weight: int = 100
    """Relative to the other shares of the route; more than 0."""
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES


@dataclass(frozen=True, slots=True, kw_only=True)
class HashPolicy:
    """What of a request decides its endpoint in a ring-hash or Maglev cluster; exactly one field is set."""

    header: str = ""
    cookie: str = ""
    cookie_path: str = ""
    cookie_ttl_s: float | None = None
    """0: a session cookie; None: the cookie is only read, never made."""
    cookie_attributes: tuple[tuple[str, str], ...] = ()
    """Names and values that are said when it is made."""
    query: str = ""
    source_ip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Send the request on."""

    to: tuple[WeightedCluster, ...]
    rewrite_prefix: str | None = None
    """Replaces the matched prefix (or the whole path, after an exact match)."""
    rewrite_regex: tuple[str, str] | None = None
    """RE2 pattern and substitution (`\\1`), applied to the path."""
    rewrite_authority: str | None = None
    hash_policies: tuple[HashPolicy, ...] = ()
    nowhere_status: int = 503
    """500 or 503: the answer to the share of `NOWHERE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Answer with a redirection."""

    code: int = 301
    path: str | None = None
    """Replaces the whole path."""
    prefix: str | None = None
    """Replaces the matched prefix."""
    regex: tuple[str, str] | None = None
    """RE2 pattern and substitution (`\\1`), applied to the path."""
    authority: str | None = None
    scheme: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    """Answer without asking anybody."""

    code: int
    body: bytes = b""

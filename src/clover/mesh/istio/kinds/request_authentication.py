"""Istio's RequestAuthentication."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool
from pydantic_core import PydanticCustomError

from clover.mesh.istio.durations import Duration
from clover.mesh.istio.kinds.part import NonEmpty, Part, SecurityResource, Targeted


def _address(text: str) -> str:
    """Refuse what is not the address of a web page."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise PydanticCustomError(
            "address",
            "{text} is not an address such as 'http://keys.default.svc.cluster.local:9180/jwks'",
            {"text": repr(text[:80])},
        )
    return text


class JWTHeader(Part):
    """A header that carries a token."""

    name: NonEmpty
    prefix: str = ""
    """What stands before the token: `Bearer `."""


class ClaimToHeader(Part):
    """A header that gets the value of a claim."""

    header: Annotated[str, Field(min_length=1, pattern=r"^[-_A-Za-z0-9]+$")]
    claim: NonEmpty
    """`.` separates the names of nested claims."""


class JWTRule(Part):
    """Whose tokens are believed, where they stand, and what becomes of them."""

    unsupported = frozenset({"jwks_uri"})
    multiline = frozenset({"jwks"})

    issuer: NonEmpty | None = None
    """What a token's `iss` says; None: anybody whose signature fits the keys."""
    audiences: tuple[NonEmpty, ...] = ()
    jwks: str | None = None
    jwks_uri: Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_address)] | None = None
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[NonEmpty, ...] = ()
    from_cookies: tuple[NonEmpty, ...] = ()
    presence: Literal["OPTIONAL", "REQUIRED"] = "OPTIONAL"
    forward_original_token: StrictBool = False
    output_payload_to_header: str = ""
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    space_delimited_claims: Annotated[tuple[NonEmpty, ...], Field(max_length=64)] = ()
    timeout: Duration | None = None
    """For fetching keys; None: 5 s."""


class RequestAuthenticationSpec(Targeted):
    """Whose tokens a workload believes."""

    jwt_rules: Annotated[tuple[JWTRule, ...], Field(max_length=4096)] = ()


class RequestAuthentication(SecurityResource):
    """Istio's RequestAuthentication."""

    kind: Literal["RequestAuthentication"] = "RequestAuthentication"
    spec: RequestAuthenticationSpec = RequestAuthenticationSpec.model_construct()

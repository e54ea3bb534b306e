"""The Gateway API's HTTPRoute."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.gateway_api import (
    BackendRef,
    CommonFilter,
    HeaderName,
    Hostname,
    ParentReference,
    PreciseHostname,
    SectionName,
    Timeouts,
    ValueMatch,
)
from clover.mesh.istio.kinds.part import GatewayApiResource, Part, Port

_PATH = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_UNCLEAR = ("//", "/./", "/../", "%2f", "%2F", "#")
_ORIGIN = r"^\*$|^https?://(\*|(\*\.)?([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+)(:[0-9]{1,5})?$"

MAX_MATCHES = 128
"""In all rules of a route, as the API's schema has it."""


class PathMatch(Part):
    """A test of a request's path."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = Field(default="/", min_length=1, max_length=1024)

    @model_validator(mode="after")
    def _is_a_clean_path(self) -> Self:
        if self.type == "RegularExpression":
            return self
        found = next((part for part in _UNCLEAR if part in self.value), "")
        found = found or next((end for end in ("/..", "/.") if self.value.endswith(end)), "")
        if found:
            raise PydanticCustomError(
                "path", "{value} has {found} in it, which no path has", {"value": self.value[:80], "found": repr(found)}
            )
        if not _PATH.fullmatch(self.value):
            raise PydanticCustomError("path", "{value} is not a path such as '/shop'", {"value": repr(self.value[:80])})
        return self


class HTTPRouteMatch(Part):
    """Which requests a rule takes: all of its tests hold."""

    path: PathMatch = PathMatch.model_construct()
    headers: tuple[ValueMatch, ...] = Field(default=(), max_length=16)
    query_params: tuple[ValueMatch, ...] = Field(default=(), max_length=16)
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] | None = None


class PathModifier(Part):
    """What becomes of a path."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = Field(default=None, max_length=1024)
    replace_prefix_match: str | None = Field(default=None, max_length=1024)

    @model_validator(mode="after")
    def _says_what_its_type_is(self) -> Self:
        full = self.type == "ReplaceFullPath"
        if (self.replace_full_path is not None) != full or (self.replace_prefix_match is not None) == full:
            field = "replaceFullPath" if full else "replacePrefixMatch"
            raise PydanticCustomError(
                "path", "the type {type} goes with {field} alone", {"type": repr(self.type), "field": repr(field)}
            )
        return self


class RequestRedirect(Part):
    """Sends the client elsewhere."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    """None: the well-known one of `scheme`, or without `scheme` the listener's."""
    status_code: Literal[301, 302, 303, 307, 308] = 302


class URLRewrite(Part):
    """Changes a request before it is sent on."""

    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


class Cors(Part):
    """Which other origins may read the answers."""

    allow_origins: tuple[Annotated[str, Field(max_length=253, pattern=_ORIGIN)], ...] = Field(default=(), max_length=64)
    allow_credentials: StrictBool | None = None
    allow_methods: tuple[
        Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"], ...
    ] = Field(default=(), max_length=9)
    allow_headers: tuple[HeaderName, ...] = Field(default=(), max_length=64)
    expose_headers: tuple[HeaderName, ...] = Field(default=(), max_length=64)
    max_age: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] = 5
    """Seconds."""

    @model_validator(mode="after")
    def _all_is_said_alone(self) -> Self:
        for name, values in (
            ("allowOrigins", self.allow_origins),
            ("allowMethods", self.allow_methods),
            ("allowHeaders", self.allow_headers),
        ):
            if "*" in values and len(values) > 1:
                raise PydanticCustomError("cors", "{name} has '*' beside others", {"name": repr(name)})
        return self


class HTTPRouteFilter(CommonFilter):
    """One step of a rule: changes, copies or redirects requests."""

    unsupported = frozenset({"extensionRef", "externalAuth"})

    type: Literal[
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "CORS"
    ]
    request_redirect: RequestRedirect | None = None
    url_rewrite: URLRewrite | None = None
    cors: Cors | None = None


class HTTPRouteRule(Part):
    """The requests that a rule takes, and what happens to them."""

    unsupported = frozenset({"retry", "sessionPersistence"})

    name: SectionName | None = None
    matches: tuple[HTTPRouteMatch, ...] = Field(default=(), max_length=64)
    """Empty: every request."""
    filters: tuple[HTTPRouteFilter, ...] = Field(default=(), max_length=16)
    backend_refs: tuple[BackendRef, ...] = Field(default=(), max_length=16)
    timeouts: Timeouts = Timeouts.model_construct()


class HTTPRouteSpec(Part):
    """How HTTP requests are routed."""

    unsupported = frozenset({"useDefaultGateways"})

    parent_refs: tuple[ParentReference, ...] = Field(default=(), max_length=32)
    hostnames: tuple[Hostname, ...] = Field(default=(), max_length=16)
    """Empty: those of the listener."""
    rules: tuple[HTTPRouteRule, ...] = Field(default=(HTTPRouteRule.model_construct(),), min_length=1, max_length=16)

    @model_validator(mode="after")
    def _has_not_too_many_matches(self) -> Self:
        if sum(len(rule.matches) for rule in self.rules) > MAX_MATCHES:
            raise PydanticCustomError("matches", "the rules have more than {most} matches", {"most": MAX_MATCHES})
        return self


class HTTPRoute(GatewayApiResource):
    """The Gateway API's HTTPRoute."""

    kind: Literal["HTTPRoute"] = "HTTPRoute"
    spec: HTTPRouteSpec = HTTPRouteSpec.model_construct()

"""Istio's VirtualService."""

from __future__ import annotations

import base64
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from clover.kit import grpc_statuses
from clover.mesh.istio.durations import Duration
from clover.mesh.istio.kinds.part import (
    Base64,
    ExportTo,
    NetworkingResource,
    NonEmpty,
    Part,
    Percentage,
    Port,
    Share,
    WholePercentage,
    one_of,
)


class OptionalMatch(Part):
    """A test of a string that may be absent; no field set, or the regex `*`, asks only whether it is there."""

    exact: str | None = None
    prefix: NonEmpty | None = None
    regex: NonEmpty | None = None

    @model_validator(mode="after")
    def _is_one_test(self) -> Self:
        one_of(self, "exact", "prefix", "regex", least=0)
        return self


class StringMatch(OptionalMatch):
    """A test of a string that is always there."""

    @model_validator(mode="after")
    def _is_a_test(self) -> Self:
        one_of(self, "exact", "prefix", "regex", least=1)
        return self


class HTTPMatchRequest(Part):
    """Which requests a rule takes: all of its tests hold."""

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: StrictBool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, OptionalMatch] = Field(default_factory=dict)
    without_headers: dict[str, OptionalMatch] = Field(default_factory=dict)
    query_params: dict[str, OptionalMatch] = Field(default_factory=dict)
    port: Port | None = None
    source_labels: dict[str, str] = Field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    stat_prefix: str = ""
    """Statistics of the route get names of their own, below `vhost.<virtual host>.route.<prefix>`."""


class PortSelector(Part):
    """A port of a service."""

    number: Port


class Destination(Part):
    """A service, or a subset of its workloads."""

    host: NonEmpty
    subset: str = ""
    port: PortSelector | None = None
    """None: the service's only port, or the port that was dialled."""


class HeaderOperations(Part):
    """Changes to the headers of one message."""

    set: dict[str, str] = Field(default_factory=dict)
    add: dict[str, str] = Field(default_factory=dict)
    remove: tuple[str, ...] = ()


class Headers(Part):
    """Changes to the headers of a request and its response."""

    request: HeaderOperations = HeaderOperations.model_construct()
    response: HeaderOperations = HeaderOperations.model_construct()


class HTTPRouteDestination(Part):
    """A destination's share of a rule's traffic."""

    destination: Destination
    weight: Share = 0
    """A single destination gets everything, whatever its weight."""
    headers: Headers = Headers.model_construct()


class RegexRewrite(Part):
    """Rewrites the path by an RE2 pattern."""

    match: NonEmpty
    rewrite: str = ""


class HTTPRewrite(Part):
    """Changes a request before it is sent on."""

    uri: NonEmpty | None = None
    authority: NonEmpty | None = None
    uri_regex_rewrite: RegexRewrite | None = None

    @model_validator(mode="after")
    def _rewrites_something_once(self) -> Self:
        one_of(self, "uri", "uri_regex_rewrite", least=0)
        if not (self.uri or self.authority or self.uri_regex_rewrite):
            raise PydanticCustomError("empty", "nothing is rewritten, expected 'uri', 'authority' or 'uriRegexRewrite'")
        return self


class HTTPRedirect(Part):
    """Sends the client elsewhere."""

    uri: NonEmpty | None = None
    prefix_rewrite: NonEmpty | None = None
    authority: NonEmpty | None = None
    port: Port | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: Literal["http", "https"] | None = None
    redirect_code: Literal[301, 302, 303, 307, 308] = 301

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        one_of(self, "uri", "prefix_rewrite", least=0)
        one_of(self, "port", "derive_port", least=0)
        if not (self.uri or self.prefix_rewrite or self.authority or self.port or self.derive_port or self.scheme):
            raise PydanticCustomError(
                "empty", "the redirect goes back to where it came from, expected 'uri' or 'authority'"
            )
        return self


class HTTPBody(Part):
    """A body, as text or as base64."""

    multiline = frozenset({"string", "bytes_"})

    string: str | None = None
    bytes_: Base64 | None = Field(default=None, alias="bytes")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "string", "bytes_", least=1)
        return self

    def content(self) -> bytes:
        """Return the bytes that a client gets."""
        return base64.b64decode(self.bytes_) if self.bytes_ is not None else (self.string or "").encode()


class HTTPDirectResponse(Part):
    """Answers without asking anybody."""

    status: Annotated[StrictInt, Field(ge=200, le=599)]
    body: HTTPBody | None = None


class HTTPRetry(Part):
    """When a failed attempt is made again."""

    unsupported = frozenset({"retryRemoteLocalities"})

    attempts: Annotated[StrictInt, Field(ge=0, le=1000)] = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    backoff: Duration | None = None
    retry_ignore_previous_hosts: StrictBool | None = None
    """None: tried endpoints are avoided, unless a consistent hash decides the endpoint."""


class Percent(Part):
    """A share in percent; as in Istio, fractions are allowed."""

    value: Percentage = 0.0


class Delay(Part):
    """Makes requests wait."""

    unsupported = frozenset({"exponentialDelay"})

    fixed_delay: Duration
    percentage: Percent | None = None
    percent: WholePercentage | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "percentage", "percent", least=0)
        return self

    def share(self) -> float:
        """Return the delayed share of requests in percent; as in Istio, none when it is not said."""
        return self.percentage.value if self.percentage else float(self.percent or 0)


def _grpc_status(name: str) -> str:
    if name not in grpc_statuses.NAMES:
        raise PydanticCustomError(
            "grpc_status", "{name} is not the name of a gRPC status such as 'UNAVAILABLE'", {"name": repr(name[:40])}
        )
    return name


class Abort(Part):
    """Answers requests with an error."""

    unsupported = frozenset({"http2Error"})

    http_status: Annotated[StrictInt, Field(ge=200, le=599)] | None = None
    grpc_status: Annotated[str, AfterValidator(_grpc_status)] | None = None
    percentage: Percent | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "http_status", "grpc_status", least=1)
        return self

    def share(self) -> float:
        """Return the aborted share of requests in percent; as in Istio, none when it is not said."""
        return self.percentage.value if self.percentage else 0.0


class HTTPFaultInjection(Part):
    """Trouble made on purpose."""

    delay: Delay | None = None
    abort: Abort | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.delay or self.abort):
            raise PydanticCustomError("empty", "the fault does nothing, expected 'delay' or 'abort'")
        return self


class HTTPMirrorPolicy(Part):
    """A destination that gets copies."""

    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(Part):
    """Which other origins may read the answers."""

    allow_origins: tuple[StringMatch, ...] = ()
    allow_origin: tuple[NonEmpty, ...] = ()
    """The older way to say exact origins; not asked where there are `allow_origins`."""
    allow_methods: tuple[NonEmpty, ...] = ()
    allow_headers: tuple[NonEmpty, ...] = ()
    expose_headers: tuple[NonEmpty, ...] = ()
    max_age: Duration | None = None
    allow_credentials: StrictBool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class Delegate(Part):
    """A VirtualService without hosts, whose rules stand in the place of this one."""

    name: NonEmpty
    namespace: str = ""
    """Empty: that of the VirtualService that delegates."""


class HTTPRoute(Part):
    """A rule: the requests it takes, and what happens to them."""

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    headers: Headers = Headers.model_construct()
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirror_percentage: Percent | None = None
    mirror_percent: WholePercentage | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    cors_policy: CorsPolicy | None = None

    @model_validator(mode="after")
    def _mirrors_in_one_way(self) -> Self:
        one_of(self, "mirror_percentage", "mirror_percent", least=0)
        if self.mirror and self.mirrors:
            raise PydanticCustomError("one_of", "both 'mirror' and 'mirrors' are set, expected one")
        if not self.mirror and (self.mirror_percentage or self.mirror_percent is not None):
            raise PydanticCustomError("mirror", "'mirrorPercentage' is set without 'mirror'")
        return self

    def mirrored(self) -> tuple[tuple[Destination, float], ...]:
        """Return every destination that gets copies, with its share in percent."""
        if self.mirror:
            share = float(self.mirror_percent) if self.mirror_percent is not None else 100.0
            return ((self.mirror, self.mirror_percentage.value if self.mirror_percentage else share),)
        return tuple((copy.destination, copy.percentage.value if copy.percentage else 100.0) for copy in self.mirrors)


class RouteDestination(Part):
    """A destination's share of a rule's connections."""

    destination: Destination
    weight: Share = 0
    """A single destination gets everything, whatever its weight."""


class ConnectionMatch(Part):
    """Which connections a rule takes, as far as TCP and TLS agree: all of its tests hold."""

    destination_subnets: tuple[NonEmpty, ...] = ()
    """IPv4 or IPv6 addresses or networks, one of which the client dialled."""
    port: Port | None = None
    source_labels: dict[str, str] = Field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()


class L4MatchAttributes(ConnectionMatch):
    """Which connections a TCP rule takes."""

    unsupported = frozenset({"sourceSubnet"})


class TLSMatchAttributes(ConnectionMatch):
    """Which connections a TLS rule takes, by what the client says before anything is encrypted."""

    sni_hosts: tuple[NonEmpty, ...] = Field(min_length=1)


class TCPRoute(Part):
    """A rule for connections whose bytes nobody reads."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = Field(min_length=1)


class TLSRoute(Part):
    """A rule for TLS that is not terminated here."""

    match: tuple[TLSMatchAttributes, ...] = Field(min_length=1)
    route: tuple[RouteDestination, ...] = Field(min_length=1)


class VirtualServiceSpec(Part):
    """How requests and connections for some hosts are routed."""

    hosts: tuple[NonEmpty, ...] = ()
    """Empty: a delegate, which says nothing until another VirtualService delegates to it."""
    gateways: tuple[NonEmpty, ...] = ()
    """Empty: `mesh`, which is every sidecar."""
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: ExportTo = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.http or self.tls or self.tcp):
            raise PydanticCustomError("empty", "there are no rules, expected 'http', 'tls' or 'tcp'")
        if not self.hosts:
            for name in ("gateways", "tls", "tcp"):
                if getattr(self, name):
                    what = "there are no 'hosts', so this is a delegate, and a delegate has no {name}"
                    raise PydanticCustomError("delegate", what, {"name": repr(name)})
        return self


class VirtualService(NetworkingResource):
    """Istio's VirtualService."""

    kind: Literal["VirtualService"] = "VirtualService"
    spec: VirtualServiceSpec

    @property
    def is_delegate(self) -> bool:
        """Whether its rules are only for others to delegate to."""
        return not self.spec.hosts

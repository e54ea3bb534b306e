"""Istio's traffic resources as far as Clover carries them out: the one list of fields that are supported.

A field that is not here is refused. Those of Istio's that Clover knows and does not carry out stand in `unsupported`
of their model, so that the message can say so; docs/reference/istio.md lists both. The models check the form of
single values (types, ranges, what excludes what); what needs a look at the mesh is in `validate`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StrictBool, StrictInt, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from clover.mesh.istio.durations import Duration, DurationOrZero

API_VERSIONS = (
    "networking.istio.io/v1",
    "networking.istio.io/v1beta1",
    "networking.istio.io/v1alpha3",
)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("base64", "the value is not base64") from None
    return text


Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Count = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Share = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Percentage = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False)]
WholePercentage = Annotated[StrictInt, Field(ge=0, le=100)]
NonEmpty = Annotated[str, Field(min_length=1)]
Base64 = Annotated[str, AfterValidator(_base64)]
ExportTo = tuple[Literal[".", "*"], ...]


class Part(BaseModel):
    """A piece of a resource: immutable, with Istio's names in documents and Python's in code."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
    unsupported: ClassVar[frozenset[str]] = frozenset()
    """Fields that Istio has here and Clover does not carry out."""


def _one_of(part: Part, *names: str, least: int) -> None:
    """Refuse a part in which several of the fields `names`, or fewer than `least`, are set."""
    fields = type(part).model_fields
    aliases = [fields[name].alias or name for name in names]
    present = [alias for name, alias in zip(names, aliases, strict=True) if getattr(part, name) not in (None, False)]
    if least <= len(present) <= 1:
        return
    choices = ", ".join(repr(alias) for alias in aliases)
    found = f"{' and '.join(repr(alias) for alias in present)} are set" if present else "nothing is set"
    raise PydanticCustomError("one_of", "{found}, expected one of {choices}", {"found": found, "choices": choices})


class Metadata(Part):
    """What a resource is called."""

    name: str = Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    namespace: str = Field(default="default", max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _without_what_the_api_server_writes(cls, data: Any) -> Any:
        """Files saved with `kubectl get -o yaml` carry book-keeping that says nothing about traffic."""
        return _without(data, _SERVER_METADATA)


_SERVER_METADATA = frozenset(
    [
        "creationTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)


def _without(data: Any, names: frozenset[str]) -> Any:
    if isinstance(data, Mapping):
        return {key: value for key, value in data.items() if key not in names}
    return data


# --- VirtualService ---------------------------------------------------------------------------------------------------


class OptionalMatch(Part):
    """A test of a string that may be absent; no field set, or the regex `*`, asks only whether it is there."""

    exact: str | None = None
    prefix: NonEmpty | None = None
    regex: NonEmpty | None = None

    @model_validator(mode="after")
    def _is_one_test(self) -> Self:
        _one_of(self, "exact", "prefix", "regex", least=0)
        return self


class StringMatch(OptionalMatch):
    """A test of a string that is always there."""

    @model_validator(mode="after")
    def _is_a_test(self) -> Self:
        _one_of(self, "exact", "prefix", "regex", least=1)
        return self


class HTTPMatchRequest(Part):
    """Which requests a rule takes: all of its tests hold."""

    unsupported = frozenset({"statPrefix"})

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

    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


class HTTPRouteDestination(Part):
    """A destination's share of a rule's traffic."""

    destination: Destination
    weight: Share = 0
    """A single destination gets everything, whatever its weight."""
    headers: Headers = Headers()


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
        _one_of(self, "uri", "uri_regex_rewrite", least=0)
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
        _one_of(self, "uri", "prefix_rewrite", least=0)
        _one_of(self, "port", "derive_port", least=0)
        if not (self.uri or self.prefix_rewrite or self.authority or self.port or self.derive_port or self.scheme):
            raise PydanticCustomError(
                "empty", "the redirect goes back to where it came from, expected 'uri' or 'authority'"
            )
        return self


class HTTPBody(Part):
    """A body, as text or as base64."""

    string: str | None = None
    bytes_: Base64 | None = Field(default=None, alias="bytes")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _one_of(self, "string", "bytes_", least=1)
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
        _one_of(self, "percentage", "percent", least=0)
        return self

    def share(self) -> float:
        """Return the delayed share of requests in percent; as in Istio, none when it is not said."""
        return self.percentage.value if self.percentage else float(self.percent or 0)


GRPC_STATUSES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
"""In the order of their numbers."""


def _grpc_status(name: str) -> str:
    if name not in GRPC_STATUSES:
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
        _one_of(self, "http_status", "grpc_status", least=1)
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

    unsupported = frozenset({"allowOrigin"})

    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[NonEmpty, ...] = ()
    allow_headers: tuple[NonEmpty, ...] = ()
    expose_headers: tuple[NonEmpty, ...] = ()
    max_age: Duration | None = None
    allow_credentials: StrictBool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class HTTPRoute(Part):
    """A rule: the requests it takes, and what happens to them."""

    unsupported = frozenset({"delegate"})

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    rewrite: HTTPRewrite | None = None
    headers: Headers = Headers()
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
        _one_of(self, "mirror_percentage", "mirror_percent", least=0)
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


class VirtualServiceSpec(Part):
    """How requests for some hosts are routed."""

    unsupported = frozenset({"tls", "tcp"})

    hosts: tuple[NonEmpty, ...] = Field(min_length=1)
    gateways: tuple[NonEmpty, ...] = ()
    """Empty: `mesh`, which is every sidecar."""
    http: tuple[HTTPRoute, ...] = Field(min_length=1)
    export_to: ExportTo = ()


# --- DestinationRule --------------------------------------------------------------------------------------------------


class HTTPCookie(Part):
    """A cookie that keeps a client at one endpoint."""

    unsupported = frozenset({"attributes"})

    name: NonEmpty
    path: str = ""
    ttl: DurationOrZero | None = None
    """None: the cookie is only read, never made; 0: a session cookie."""


class RingHash(Part):
    """Settings of a ring."""

    minimum_ring_size: Annotated[StrictInt, Field(ge=0, le=8_388_608)] = 0


class Maglev(Part):
    """Settings of a Maglev table."""

    table_size: Annotated[StrictInt, Field(ge=0, le=5_000_011)] = 0


class ConsistentHashLB(Part):
    """Keeps requests that are alike in something at one endpoint."""

    http_header_name: NonEmpty | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: StrictBool | None = None
    http_query_parameter_name: NonEmpty | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: Annotated[StrictInt, Field(ge=0, le=8_388_608)] | None = None

    @model_validator(mode="after")
    def _hashes_one_thing(self) -> Self:
        _one_of(self, "http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name", least=1)
        _one_of(self, "ring_hash", "maglev", least=0)
        return self


class LoadBalancerSettings(Part):
    """How an endpoint is picked."""

    unsupported = frozenset({"localityLbSetting", "warmup", "warmupDurationSecs", "zoneAwareLbSetting"})

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "RANDOM", "ROUND_ROBIN", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHashLB | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _one_of(self, "simple", "consistent_hash", least=0)
        return self


class TcpKeepalive(Part):
    """TCP's own probes."""

    probes: Count | None = None
    time: Annotated[Duration, Field(ge=1)] | None = None
    interval: Annotated[Duration, Field(ge=1)] | None = None


class TCPSettings(Part):
    """Limits of connections."""

    unsupported = frozenset({"idleTimeout"})

    max_connections: Count = 0
    connect_timeout: Duration | None = None
    max_connection_duration: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None


class HTTPSettings(Part):
    """Limits of requests; as in Istio, 0 is no limit."""

    unsupported = frozenset({"http2KeepAlive"})

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0
    idle_timeout: Duration | None = None
    max_concurrent_streams: Count = 0
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: StrictBool = False


class ConnectionPoolSettings(Part):
    """Limits of a cluster."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Part):
    """When an endpoint that answers badly is left alone for a while."""

    unsupported = frozenset({"consecutiveErrors", "outlierDetectionHttpErrorCodes"})

    consecutive_5xx_errors: Count | None = Field(default=None, alias="consecutive5xxErrors")
    """None: 5, as Envoy; 0: not counted."""
    consecutive_gateway_errors: Count | None = None
    consecutive_local_origin_failures: Count | None = None
    split_external_local_origin_errors: StrictBool = False
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: WholePercentage | None = None
    min_health_percent: WholePercentage = 0


class PolicyParts(Part):
    """The parts that a policy has for a port as for a whole service."""

    unsupported = frozenset({"tls", "tunnel", "proxyProtocol", "retryBudget"})

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None


class PortTrafficPolicy(PolicyParts):
    """A policy for one port; it replaces the policy of the service as a whole."""

    port: PortSelector


class TrafficPolicy(PolicyParts):
    """How traffic to a service, or to one of its subsets, is treated."""

    port_level_settings: tuple[PortTrafficPolicy, ...] = ()


class Subset(Part):
    """A named choice of a service's workloads."""

    name: str = Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)
    labels: dict[str, str] = Field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Part):
    """What happens to traffic on its way to a service."""

    unsupported = frozenset({"workloadSelector"})

    host: NonEmpty
    subsets: tuple[Subset, ...] = ()
    traffic_policy: TrafficPolicy | None = None
    export_to: ExportTo = ()


# --- Gateway ----------------------------------------------------------------------------------------------------------


class ServerPort(Part):
    """A port that a gateway opens."""

    unsupported = frozenset({"targetPort"})

    number: Port
    protocol: NonEmpty
    name: NonEmpty


class Server(Part):
    """A port, and the hosts that are served on it."""

    unsupported = frozenset({"tls", "defaultEndpoint"})

    port: ServerPort
    hosts: tuple[NonEmpty, ...] = Field(min_length=1)
    name: str = ""
    bind: str = ""
    """Address to listen on; empty: 127.0.0.1."""


class GatewaySpec(Part):
    """Where traffic enters the mesh."""

    selector: dict[str, str] = Field(default_factory=dict)
    servers: tuple[Server, ...] = Field(min_length=1)


# --- Resources --------------------------------------------------------------------------------------------------------


class _Resource(Part):
    api_version: Literal["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"] = (
        "networking.istio.io/v1"
    )
    metadata: Metadata

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, data: Any) -> Any:
        """A status is what the API server found, not what the author means."""
        return _without(data, frozenset({"status"}))


class VirtualService(_Resource):
    """Istio's VirtualService."""

    kind: Literal["VirtualService"] = "VirtualService"
    spec: VirtualServiceSpec


class DestinationRule(_Resource):
    """Istio's DestinationRule."""

    kind: Literal["DestinationRule"] = "DestinationRule"
    spec: DestinationRuleSpec


class Gateway(_Resource):
    """Istio's Gateway."""

    kind: Literal["Gateway"] = "Gateway"
    spec: GatewaySpec


Resource = VirtualService | DestinationRule | Gateway

KINDS: Mapping[str, type[Resource]] = {
    "VirtualService": VirtualService,
    "DestinationRule": DestinationRule,
    "Gateway": Gateway,
}


def key(resource: Resource) -> str:
    """Return what identifies a resource, and names it in messages: `VirtualService/default/http-lb`."""
    return f"{resource.kind}/{resource.metadata.namespace}/{resource.metadata.name}"

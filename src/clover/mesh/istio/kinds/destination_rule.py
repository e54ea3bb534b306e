"""Istio's DestinationRule."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.durations import Duration, DurationOrZero
from clover.mesh.istio.kinds.part import (
    Count,
    ExportTo,
    MatchLabels,
    NetworkingResource,
    NonEmpty,
    Part,
    Percentage,
    WholePercentage,
    one_of,
)
from clover.mesh.istio.kinds.virtual_service import PortSelector


class CookieAttribute(Part):
    """Something more that a cookie says when it is made, for example `SameSite`."""

    name: NonEmpty
    value: str = ""


class HTTPCookie(Part):
    """A cookie that keeps a client at one endpoint."""

    name: NonEmpty
    path: str = ""
    ttl: DurationOrZero | None = None
    """None: the cookie is only read, never made; 0: a session cookie."""
    attributes: tuple[CookieAttribute, ...] = ()

    @model_validator(mode="after")
    def _says_each_attribute_once(self) -> Self:
        names = [attribute.name for attribute in self.attributes]
        if len(set(names)) != len(names):
            raise PydanticCustomError("attributes", "an attribute of the cookie is written twice")
        return self


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
        one_of(self, "http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name", least=1)
        one_of(self, "ring_hash", "maglev", least=0)
        return self


class WarmupConfiguration(Part):
    """How the share of an endpoint grows that has just come."""

    duration: Duration
    minimum_percent: Percentage | None = None
    """Of its share, to begin with; None: 10."""
    aggression: Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)] | None = None
    """None, or 1: it grows evenly; more: faster at first."""


class LoadBalancerSettings(Part):
    """How an endpoint is picked."""

    unsupported = frozenset({"localityLbSetting", "zoneAwareLbSetting"})

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "RANDOM", "ROUND_ROBIN", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHashLB | None = None
    warmup: WarmupConfiguration | None = None
    warmup_duration_secs: Duration | None = None
    """The older form; not asked where there is `warmup`."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "simple", "consistent_hash", least=0)
        return self


class TcpKeepalive(Part):
    """TCP's own probes."""

    probes: Count | None = None
    time: Annotated[Duration, Field(ge=1)] | None = None
    interval: Annotated[Duration, Field(ge=1)] | None = None


class TCPSettings(Part):
    """Limits of connections."""

    max_connections: Count = 0
    connect_timeout: Duration | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: DurationOrZero | None = None
    """None: an hour, as Envoy; 0: no limit."""
    tcp_keepalive: TcpKeepalive | None = None


class ConnectionKeepalive(Part):
    """HTTP/2's own probes."""

    interval: Duration
    timeout: Duration


class HTTPSettings(Part):
    """Limits of requests; as in Istio, 0 is no limit."""

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0
    idle_timeout: Duration | None = None
    max_concurrent_streams: Count = 0
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: StrictBool = False
    http2_keep_alive: ConnectionKeepalive | None = Field(default=None, alias="http2KeepAlive")


class ConnectionPoolSettings(Part):
    """Limits of a cluster."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Part):
    """When an endpoint that answers badly is left alone for a while."""

    consecutive_5xx_errors: Count | None = Field(default=None, alias="consecutive5xxErrors")
    """None: 5, as Envoy; 0: not counted."""
    consecutive_gateway_errors: Count | None = None
    consecutive_local_origin_failures: Count | None = None
    split_external_local_origin_errors: StrictBool = False
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: WholePercentage | None = None
    min_health_percent: WholePercentage = 0
    outlier_detection_http_error_codes: tuple[Annotated[StrictInt, Field(ge=100, le=599)], ...] = ()
    """Answers that count as errors, in place of all 5xx."""
    consecutive_errors: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] = 0
    """Says nothing any more, on Istio neither."""


class ClientTLSSettings(Part):
    """Whether connections to a service are encrypted, and what both sides show for it."""

    unsupported = frozenset({"caCrl"})

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    """Path of a file, as are the next two."""
    private_key: str = ""
    ca_certificates: str = ""
    """Authorities of the server's certificate; empty: those that the machine believes, and `system` says so."""
    credential_name: str = ""
    """Name of a folder with `tls.crt`, `tls.key` and `ca.crt`, in place of the three files."""
    subject_alt_names: tuple[NonEmpty, ...] = ()
    sni: str = ""
    insecure_skip_verify: StrictBool = False


class PolicyParts(Part):
    """The parts that a policy has for a port as for a whole service."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    """None: what the mesh does by itself (auto-mTLS)."""


class PortTrafficPolicy(PolicyParts):
    """A policy for one port; it replaces the policy of the service as a whole."""

    port: PortSelector


class ProxyProtocol(Part):
    """Connections begin with a line that says whose they are."""

    version: Literal["V1", "V2"] = "V1"


class RetryBudget(Part):
    """How many of the requests under way may be retries."""

    unsupported = frozenset({"budgetInterval"})

    percent: Percentage | None = None
    """None: 20."""
    min_retry_concurrency: Count = 0
    """So many at any time, however few requests there are; 0: 3."""


class TrafficPolicy(PolicyParts):
    """How traffic to a service, or to one of its subsets, is treated."""

    unsupported = frozenset({"tunnel"})

    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()


class Subset(Part):
    """A named choice of a service's workloads."""

    name: str = Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)
    labels: dict[str, str] = Field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Part):
    """What happens to traffic on its way to a service."""

    host: NonEmpty
    subsets: tuple[Subset, ...] = ()
    traffic_policy: TrafficPolicy | None = None
    export_to: ExportTo = ()
    workload_selector: MatchLabels | None = None
    """Clients in the rule's own namespace that obey it, in place of the rule without one; None: all clients."""


class DestinationRule(NetworkingResource):
    """Istio's DestinationRule."""

    kind: Literal["DestinationRule"] = "DestinationRule"
    spec: DestinationRuleSpec

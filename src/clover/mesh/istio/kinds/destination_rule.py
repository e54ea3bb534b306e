"""Istio's DestinationRule."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from clover.mesh.istio.durations import Duration, DurationOrZero
from clover.mesh.istio.kinds.part import Count, ExportTo, NetworkingResource, NonEmpty, Part, WholePercentage, one_of
from clover.mesh.istio.kinds.virtual_service import PortSelector


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
        one_of(self, "http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name", least=1)
        one_of(self, "ring_hash", "maglev", least=0)
        return self


class LoadBalancerSettings(Part):
    """How an endpoint is picked."""

    unsupported = frozenset({"localityLbSetting", "warmup", "warmupDurationSecs", "zoneAwareLbSetting"})

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "RANDOM", "ROUND_ROBIN", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHashLB | None = None

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

    unsupported = frozenset({"tunnel", "proxyProtocol", "retryBudget"})

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    """None: what the mesh does by itself (auto-mTLS)."""


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


class DestinationRule(NetworkingResource):
    """Istio's DestinationRule."""

    kind: Literal["DestinationRule"] = "DestinationRule"
    spec: DestinationRuleSpec

"""The mesh's intermediate form: what each proxy should do, in no dialect.

Istio resources are translated into these values, and Envoy configuration is compiled from them alone, so that a second
policy language needs no second compiler. Every value that an author caused carries `sources`: the resources that it
came from, as `VirtualService/default/http-lb`, so that a rejection by Envoy can be told in the author's words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clover.mesh.access import OPEN, Access
from clover.mesh.authentication import NO_TOKENS, Authentication
from clover.mesh.reporting import EVERYTHING, Reports

PASSTHROUGH = "PassthroughCluster"
"""The cluster that every sidecar has without being told: the address that was dialled."""
BLACK_HOLE = "BlackHoleCluster"
"""The cluster that every sidecar has without being told: it leads nowhere, and its connections are recorded."""
NOWHERE = "NoBackend"
"""No cluster: requests of this share are answered with the `nowhere_status` of their route."""


class Protocol(StrEnum):
    """How a port's bytes are treated (Istio: explicit protocol selection)."""

    AUTO = "auto"
    """HTTP/1.1 and h2c are recognised by their first bytes, all else is carried as TCP."""
    HTTP = "http"
    HTTP2 = "http2"
    """HTTP/2 with prior knowledge; gRPC is this."""
    TCP = "tcp"


class PeerMode(StrEnum):
    """Which connections a port takes."""

    DISABLE = "disable"
    """As they come, without a look at certificates."""
    PERMISSIVE = "permissive"
    """Mutual TLS where the caller's proxy begins it, anything else as it comes."""
    STRICT = "strict"
    """Mutual TLS with a certificate of the mesh, and nothing else."""


class MatchKind(StrEnum):
    """How a string is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    PATH_PREFIX = "path-prefix"
    """Whole segments of a path, `/shop` for `/shop` and `/shop/cart`; for paths alone, and without a `/` at the end."""
    REGEX = "regex"
    """RE2, and the whole string must match."""
    PRESENT = "present"


class Balancing(StrEnum):
    """How a cluster picks an endpoint."""

    ROUND_ROBIN = "round-robin"
    LEAST_REQUEST = "least-request"
    RANDOM = "random"
    PASSTHROUGH = "passthrough"
    RING_HASH = "ring-hash"
    MAGLEV = "maglev"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """Changes to a message's headers, made in the order remove, set, add."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    """Replaces any value that is there."""
    add: tuple[tuple[str, str], ...] = ()
    """Appends to the values that are there."""


NO_CHANGES = HeaderChanges()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When and how often a failed attempt is made again."""

    attempts: int
    """Attempts after the first; 0 switches retries off."""
    conditions: tuple[str, ...]
    """Envoy's `retry_on` words."""
    status_codes: tuple[int, ...] = ()
    """Extra statuses for the condition `retriable-status-codes`."""
    per_try_timeout_s: float | None = None
    backoff_s: float | None = None
    previous_hosts: bool = True
    """Avoid endpoints that were already tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Trouble made on purpose, for a share of requests in percent."""

    delay_s: float = 0.0
    delay_percent: float = 0.0
    abort_status: int = 0
    abort_grpc_status: int | None = None
    abort_percent: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Cross-origin policy of a route (Fetch standard)."""

    origins: tuple[StringMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int | None = None
    credentials: bool | None = None
    forward_unmatched_preflights: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A copy of a share of requests, its answers thrown away."""

    cluster: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule of a virtual host; the first that matches wins."""

    name: str
    """Low in cardinality: it names spans and appears in access logs."""
    match: RequestMatch
    action: Forward | Redirect | DirectResponse
    timeout_s: float = 0.0
    """0: no limit."""
    keeps_deadline: bool = True
    """True: a gRPC call ends when the deadline that its client set is over; False: whoever sent it on sees to that."""
    retries: Retries | None = None
    fault: Fault | None = None
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES
    stat_prefix: str = ""
    """'': the route has no statistics of its own."""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long connections are kept whose bytes are not read."""

    idle_s: float | None = None
    """Without a byte; None: an hour, 0: for ever."""
    most_s: float | None = None
    """None: for ever."""


AS_LONG_AS_USED = Lifetime()
"""Without a limit of anybody's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpRoute:
    """Where connections go whose bytes are not read; the most specific match wins, whatever the order."""

    name: str
    to: tuple[WeightedCluster, ...]
    """Shares, without changes of headers."""
    destinations: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`) that were dialled; empty: whatever the listener takes."""
    server_names: tuple[str, ...] = ()
    """Names that a TLS client says (`*.example.com` for all below it); empty: any, or none."""
    tls: bool = False
    """True: only connections that begin with TLS, which is not terminated."""
    lifetime: Lifetime = AS_LONG_AS_USED
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """Routes for some Host values; `*` is any."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = field(hash=False)
    """Equal hosts have equal routes, but a hash of them all would be worked out for every host of every large table."""
    only_tls: bool = False
    """True: who comes without TLS is sent to `https`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """What a listener's HTTP traffic is matched against."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Connection pool and circuit breaker of a cluster; None: no limit."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int | None = None
    max_concurrent_streams: int | None = None
    connect_timeout_s: float = 10.0
    idle_timeout_s: float | None = None
    max_connection_duration_s: float | None = None
    keepalive: Keepalive | None = None
    http2_keepalive: Http2Keepalive | None = None
    retry_budget: RetryBudget | None = None
    """In place of `max_retries`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """TCP keep-alive probes; None: the kernel's own value."""

    probes: int | None = None
    time_s: int | None = None
    interval_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Keepalive:
    """HTTP/2's own probes: how often, and how long an answer may take before the connection is given up."""

    interval_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many of the requests under way may be retries."""

    percent: float = 20.0
    least: int = 3
    """So many at any time, however few requests there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """How the share of an endpoint grows that has just come; None: as Envoy."""

    window_s: float
    aggression: float | None = None
    least_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When an endpoint that answers badly is left alone for a while."""

    consecutive_5xx: int | None = None
    """None: not counted."""
    consecutive_gateway_errors: int | None = None
    consecutive_local_origin_failures: int | None = None
    split_local_origin_errors: bool = False
    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    statuses: tuple[int, ...] = ()
    """Answers that are errors; empty: all 5xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshTls:
    """Mutual TLS towards a service, with the certificates of the mesh."""

    sni: str
    """Istio's: `outbound_.9180_.v1_.http-lb.default.svc.cluster.local`."""
    principals: tuple[str, ...] = ()
    """SPIFFE ids of which the server must show one; empty: any that the mesh has given out."""
    detected: bool = False
    """True: only towards endpoints that take it, in plain text to the others (Istio's auto-mTLS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginTls:
    """TLS towards a server whose certificate somebody else made."""

    sni: str = ""
    """'': the request's Host."""
    names: tuple[str, ...] = ()
    """Names of which the server's certificate must have one; empty: that of `sni`, or of the request's Host."""
    roots: str = ""
    """Name of the secret with the authorities that are believed; '': whoever answers is believed."""
    identity: str = ""
    """Name of the secret with this side's own certificate; '': none is shown."""


class Discovery(StrEnum):
    """How a proxy finds the members of a cluster."""

    TOLD = "told"
    """They are sent to it."""
    DNS = "dns"
    """It resolves their names, and all addresses are members."""
    DNS_ROUND_ROBIN = "dns-round-robin"
    """It resolves the name, and each new connection takes the first address."""
    DIALLED = "dialled"
    """There is one: the address that was dialled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A set of endpoints that a proxy may send to."""

    name: str
    """Istio's: `outbound|9180|v1|http-lb.default.svc.cluster.local`."""
    protocol: Protocol = Protocol.AUTO
    """AUTO: speaks upstream what the client spoke."""
    balancing: Balancing = Balancing.LEAST_REQUEST
    ring_size: int | None = None
    """Minimum ring size, or Maglev table size; None: Istio's default."""
    warmup: Warmup | None = None
    """For round robin and least request."""
    limits: Limits = Limits()
    outliers: OutlierDetection | None = None
    h2_upgrade: bool = False
    """True: HTTP/1.1 requests are sent on as HTTP/2."""
    tls: MeshTls | OriginTls | None = None
    """None: connections are made in plain text."""
    proxy_protocol: int = 0
    """Version of the PROXY protocol with which connections begin; 0: without it."""
    discovery: Discovery = Discovery.TOLD
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One workload that takes traffic for a cluster."""

    address: str
    port: int
    workload: str
    """'': it is none of the chain's."""
    weight: int = 1
    locality: str = ""
    """`region/zone/subzone`, as far as it is known."""
    outside: bool = False
    """True: the network of the workloads does not reach it."""
    loopback: bool = False
    """True: it may be at this machine's own loopback, where `outside` alone may not lead."""
    mtls: bool = False
    """True: its proxy takes the mesh's mutual TLS at this port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The endpoints of one cluster; an empty set answers 503 with the flag UH."""

    cluster: str
    members: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPort:
    """A port on which the proxy's own function takes traffic."""

    port: int
    protocol: Protocol
    service: str
    """Host name of the service that it belongs to."""
    grpc_web: bool = False
    """True: browsers may speak gRPC-Web to it, and the function hears gRPC."""
    endpoint: str = ""
    """Where the function takes it: `127.0.0.1:8080` or `unix:///path`; '': at the port that was dialled."""
    peers: PeerMode = PeerMode.DISABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Whose certificates a proxy believes, and which connections it takes where no service leads to."""

    domains: tuple[str, ...] = ()
    """Trust domains whose identities are believed, if the mesh's authority has signed them."""
    mode: PeerMode = PeerMode.DISABLE
    """For every port that no service leads to."""
    ports: tuple[tuple[int, PeerMode], ...] = ()
    """Of those, the ones for which something else is said."""


STRANGERS = Peers()
"""No mutual TLS: it is not looked who calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPort:
    """A service address that the proxy's own function may dial."""

    service: str
    address: str
    """Virtual address of the service; `0.0.0.0` for a port that is shared by all HTTP services."""
    port: int
    protocol: Protocol
    routes: str = ""
    """Name of the route table for its HTTP traffic."""
    cluster: str = ""
    """Cluster for its other traffic; '' where `tcp` says it all."""
    tcp: tuple[TcpRoute, ...] = ()
    """What becomes of its other traffic before `cluster` is asked."""
    lifetime: Lifetime = AS_LONG_AS_USED
    """Of connections to `cluster`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """How a gateway ends the TLS of its clients."""

    identity: str
    """Name of the secret with its certificate and key."""
    roots: str = ""
    """Name of the secret with the authorities of its clients' certificates; '': none is asked for."""
    optional: bool = False
    """True: a client may do without a certificate."""
    names: tuple[str, ...] = ()
    """Names of which a client's certificate must have one; empty: any."""
    oldest: str = "1.2"
    newest: str = "1.3"
    ciphers: tuple[str, ...] = ()
    """Of TLS 1.2 and older; empty: Envoy's choice."""
    words: tuple[str, ...] = ()
    """ALPN protocols, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServer:
    """What becomes of the connections to a gateway's port that ask for some hosts (SNI)."""

    name: str
    hosts: tuple[str, ...] = ()
    """Names or `*.` wildcards that the client's TLS asks for; empty: any, and connections without TLS."""
    tls: ServerTls | None = None
    """None: bytes are carried as they come."""
    routes: str = ""
    """Name of the route table for HTTP."""
    tcp: tuple[TcpRoute, ...] = ()
    """Without `routes`: where the bytes go."""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPort:
    """A host address on which the gateway takes connections from outside the mesh."""

    address: str
    port: int
    routes: str = ""
    """Name of the route table for plain HTTP; '': see `servers`."""
    servers: tuple[GatewayServer, ...] = ()
    """Without `routes`: TLS and TCP, told apart by the name that the client asks for."""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a proxy stands beside; becomes the resource of its spans and logs."""

    chain: str
    namespace: str
    function: str
    """`gateway` for the gateway."""
    version: str = ""
    workload: str
    reports: Reports = EVERYTHING
    """What the proxy tells of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What stands before everything that a proxy takes for its function."""

    access: Access = OPEN
    authentication: Authentication = NO_TOKENS

    @property
    def sources(self) -> tuple[str, ...]:
        """The author's resources that it came from."""
        return (*self.access.sources, *self.authentication.sources)

    def at_port(self, port: int) -> Guard:
        """Return what stands before one port of a sidecar."""
        return Guard(access=self.access.at_port(port), authentication=self.authentication.at_port(port))

    def at_gateway(self, opened_by: tuple[str, ...]) -> Guard:
        """Return what stands before a port of a gateway, by the resources that opened it."""
        return Guard(access=self.access.at_gateway(opened_by), authentication=self.authentication.at_gateway(opened_by))


UNGUARDED = Guard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Everything that one proxy is told."""

    node: str
    """Its xDS node id: the workload's name."""
    identity: Identity
    principal: str = ""
    """Its SPIFFE id, which its certificate proves; '': it has no certificate."""
    guard: Guard = UNGUARDED
    peers: Peers = STRANGERS
    inbound: tuple[InboundPort, ...] = ()
    outbound: tuple[OutboundPort, ...] = ()
    unclaimed: str = PASSTHROUGH
    """Cluster for connections of the function that no `outbound` port takes."""
    gateways: tuple[GatewayPort, ...] = ()
    tables: tuple[RouteTable, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    endpoints: tuple[Endpoints, ...] = ()

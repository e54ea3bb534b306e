"""Proxies in the intermediate form: one case for each kind of configuration, and the parts to make more of them."""

from dataclasses import replace

from clover.mesh import ir

LB = "http-lb.default.svc.cluster.local"
CACHE = "web-cache.default.svc.cluster.local"
GATEWAY = ir.Identity(chain="sdc", namespace="default", function="gateway", workload="gateway")
SIDECAR = ir.Identity(chain="sdc", namespace="default", function="http-lb", version="v1", workload="http-lb-v1")


def cluster_name(host: str, subset: str = "", port: int = 9180) -> str:
    return f"outbound|{port}|{subset}|{host}"


def forward(*clusters: str, **more) -> ir.Forward:
    return ir.Forward(to=tuple(ir.WeightedCluster(cluster=name) for name in clusters), **more)


def route(action=None, *, name: str = "default", match: ir.RequestMatch | None = None, **more) -> ir.Route:
    return ir.Route(
        name=name,
        match=match or ir.RequestMatch(),
        action=action or forward(cluster_name(LB)),
        **more,
    )


def table(*routes: ir.Route, name: str = "http.8080", domains: tuple[str, ...] = ("*",), **more) -> ir.RouteTable:
    return ir.RouteTable(name=name, virtual_hosts=(ir.VirtualHost(name=name, domains=domains, routes=routes),), **more)


def members(name: str, *addresses: str, port: int = 9180) -> ir.Endpoints:
    return ir.Endpoints(
        cluster=name,
        members=tuple(ir.Endpoint(address=address, port=port, workload=f"at-{address}") for address in addresses),
    )


def gateway(
    *routes: ir.Route,
    port: int = 8080,
    clusters: tuple[ir.Cluster, ...] = (ir.Cluster(name=cluster_name(LB)),),
    endpoints: tuple[ir.Endpoints, ...] = (members(cluster_name(LB), "10.244.0.3"),),
) -> ir.Proxy:
    """A gateway with one table; every other part can be chosen."""
    return ir.Proxy(
        node="gateway",
        identity=GATEWAY,
        gateways=(ir.GatewayPort(address="127.0.0.1", port=port, routes="http.8080"),),
        tables=(table(*(routes or (route(),))),),
        clusters=clusters,
        endpoints=endpoints,
    )


def sidecar(
    *, protocol: ir.Protocol = ir.Protocol.AUTO, outbound: tuple[ir.OutboundPort, ...] | None = None
) -> ir.Proxy:
    """The sidecar of a load balancer that dials a cache."""
    name, auto = cluster_name(CACHE), f"{CACHE}:9180"
    if outbound is None:
        outbound = (
            ir.OutboundPort(
                service=CACHE,
                address="10.96.0.4",
                port=9180,
                protocol=protocol,
                routes="" if protocol is ir.Protocol.TCP else auto,
                cluster=name,
            ),
        )
    tables = {port.routes for port in outbound if port.routes}
    return ir.Proxy(
        node="http-lb-v1",
        identity=SIDECAR,
        inbound=(ir.InboundPort(port=9180, protocol=protocol, service=LB),),
        outbound=outbound,
        tables=tuple(table(route(forward(name)), name=wanted) for wanted in sorted(tables)),
        clusters=(ir.Cluster(name=name, protocol=protocol),),
        endpoints=(members(name, "10.244.0.5", "10.244.0.4"),),
    )


def text(kind: str, value: str = "", *, ignore_case: bool = False) -> ir.StringMatch:
    return ir.StringMatch(kind=ir.MatchKind(kind), value=value, ignore_case=ignore_case)


def named(name: str, match: ir.StringMatch, *, invert: bool = False) -> ir.NamedMatch:
    return ir.NamedMatch(name=name, match=match, invert=invert)


V1, V2 = cluster_name(LB, "v1"), cluster_name(LB, "v2")
_SOURCE = ("VirtualService/default/http-lb",)

ROUTES = (
    route(
        name="matches",
        match=ir.RequestMatch(
            path=text("regex", "/api/[0-9]+", ignore_case=True),
            headers=(
                named(":method", text("exact", "POST")),
                named("x-user", text("prefix", "jas", ignore_case=True)),
                named("x-seen", text("present")),
                named("x-internal", text("present"), invert=True),
                named("x-stage", text("exact", "canary"), invert=True),
                named(":authority", text("regex", ".*\\.example\\.com")),
            ),
            query=(named("v", text("exact", "2")), named("debug", text("present"))),
        ),
        sources=_SOURCE,
    ),
    route(
        ir.Forward(
            to=(
                ir.WeightedCluster(
                    cluster=V1,
                    weight=80,
                    request_headers=ir.HeaderChanges(set=(("x-version", "v1"),)),
                    response_headers=ir.HeaderChanges(remove=("x-powered-by",)),
                ),
                ir.WeightedCluster(cluster=V2, weight=20),
            ),
            rewrite_prefix="/",
            rewrite_authority="inner.example.com",
        ),
        name="split",
        match=ir.RequestMatch(path=text("prefix", "/split/")),
        timeout_s=1.5,
        retries=ir.Retries(
            attempts=3,
            conditions=("connect-failure", "refused-stream", "retriable-status-codes"),
            status_codes=(503,),
            per_try_timeout_s=0.4,
            backoff_s=0.025,
        ),
        mirrors=(ir.Mirror(cluster=V2, percent=12.5),),
        request_headers=ir.HeaderChanges(remove=("x-gone",), set=(("x-set", "1"),), add=(("x-added", "2"),)),
        response_headers=ir.HeaderChanges(add=(("x-answered", "yes"),)),
        sources=_SOURCE,
    ),
    route(
        forward(V1, rewrite_regex=("^/old/(.*)$", "/new/\\1")),
        name="regex-rewrite",
        match=ir.RequestMatch(path=text("prefix", "/old/", ignore_case=True)),
        sources=_SOURCE,
    ),
    route(
        forward(
            V1,
            hash_policies=(
                ir.HashPolicy(header="x-user"),
                ir.HashPolicy(cookie="session", cookie_path="/", cookie_ttl_s=0.0),
                ir.HashPolicy(cookie="seen"),
                ir.HashPolicy(query="user"),
                ir.HashPolicy(source_ip=True),
            ),
        ),
        name="hashed",
        match=ir.RequestMatch(path=text("exact", "/hashed")),
        retries=ir.Retries(attempts=0, conditions=("5xx",)),
    ),
    route(
        name="faulty",
        match=ir.RequestMatch(path=text("exact", "/faulty")),
        fault=ir.Fault(delay_s=0.1, delay_percent=0.5, abort_status=503, abort_percent=10),
    ),
    route(
        name="faulty-grpc",
        match=ir.RequestMatch(path=text("exact", "/faulty-grpc")),
        fault=ir.Fault(abort_grpc_status=14, abort_percent=100),
    ),
    route(
        name="cors",
        match=ir.RequestMatch(path=text("prefix", "/cors")),
        cors=ir.Cors(
            origins=(text("exact", "https://example.com"), text("regex", "https://.*\\.example\\.org")),
            methods=("GET", "POST"),
            headers=("x-user",),
            expose=("x-answer",),
            max_age_s=86400,
            credentials=True,
            forward_unmatched_preflights=False,
        ),
    ),
    route(
        ir.Redirect(code=308, path="/there", authority="example.com", scheme="https", port=8443),
        name="redirect",
        match=ir.RequestMatch(path=text("exact", "/here")),
    ),
    route(
        ir.Redirect(prefix="/after/"), name="redirect-prefix", match=ir.RequestMatch(path=text("prefix", "/before/"))
    ),
    route(
        ir.DirectResponse(code=418, body=b"short and stout"),
        name="teapot",
        match=ir.RequestMatch(path=text("exact", "/teapot")),
    ),
    route(ir.DirectResponse(code=204), name="nothing", match=ir.RequestMatch(path=text("exact", "/nothing"))),
    route(),
)

CLUSTERS = (
    ir.Cluster(name=cluster_name(LB)),
    ir.Cluster(
        name=V1,
        protocol=ir.Protocol.HTTP,
        balancing=ir.Balancing.RING_HASH,
        outliers=ir.OutlierDetection(consecutive_5xx=3, interval_s=5, min_health_percent=20),
        sources=("DestinationRule/default/http-lb",),
    ),
    ir.Cluster(
        name=V2,
        protocol=ir.Protocol.HTTP2,
        balancing=ir.Balancing.MAGLEV,
        ring_size=65537,
        limits=ir.Limits(
            max_connections=10,
            max_pending_requests=20,
            max_requests=30,
            max_retries=4,
            max_requests_per_connection=100,
            max_concurrent_streams=50,
            connect_timeout_s=0.25,
            idle_timeout_s=30,
            max_connection_duration_s=600,
            keepalive=ir.Keepalive(probes=3, time_s=60, interval_s=5),
        ),
        outliers=ir.OutlierDetection(
            consecutive_gateway_errors=2,
            consecutive_local_origin_failures=4,
            split_local_origin_errors=True,
            max_ejection_percent=50,
        ),
    ),
    ir.Cluster(name="random", balancing=ir.Balancing.RANDOM, h2_upgrade=True),
    ir.Cluster(name="round-robin", balancing=ir.Balancing.ROUND_ROBIN, protocol=ir.Protocol.TCP),
    ir.Cluster(name="passthrough", balancing=ir.Balancing.PASSTHROUGH),
)

CASES: dict[str, ir.Proxy] = {
    "gateway": gateway(),
    "sidecar-auto": sidecar(),
    "sidecar-tcp": sidecar(protocol=ir.Protocol.TCP),
    "sidecar-http": sidecar(
        protocol=ir.Protocol.HTTP,
        outbound=(ir.OutboundPort(service="", address="0.0.0.0", port=80, protocol=ir.Protocol.HTTP, routes="80"),),
    ),
    "routes": gateway(
        *ROUTES,
        clusters=tuple(cluster for cluster in CLUSTERS if cluster.name.startswith("outbound")),
        endpoints=tuple(members(name, "10.244.0.3") for name in (cluster_name(LB), V1, V2)),
    ),
    "clusters": gateway(
        clusters=CLUSTERS,
        endpoints=(
            members(cluster_name(LB), "10.244.0.9", "10.244.0.3"),
            *(members(cluster.name) for cluster in CLUSTERS[1:5]),
        ),
    ),
}

SECURED = {
    f"{mode.value}-{protocol.value}": ir.Proxy(
        node="http-lb-v1",
        identity=SIDECAR,
        principal="spiffe://cluster.local/ns/default/sa/http-lb",
        peers=ir.Peers(domains=("cluster.local", "old.example"), mode=mode),
        inbound=(
            ir.InboundPort(port=9180, protocol=protocol, service=LB, peers=mode),
            ir.InboundPort(port=9181, protocol=ir.Protocol.TCP, service=LB),
        ),
    )
    for mode in ir.PeerMode
    for protocol in (ir.Protocol.HTTP, ir.Protocol.TCP, ir.Protocol.AUTO)
}
"""Sidecars that take connections in every way, beside a port for everybody."""
_MESH = ir.MeshTls(sni="outbound_.9180_._.web-cache", principals=("spiffe://cluster.local/ns/default/sa/web-cache",))
_DETECTED = ir.MeshTls(sni=_MESH.sni, principals=_MESH.principals, detected=True)
ENCRYPTED = {
    "detected": _DETECTED,
    "mutual": _MESH,
    "simple": ir.OriginTls(roots="file-root:system"),
    "files": ir.OriginTls(
        sni="api.example",
        names=("api.example", "10.0.0.1", "spiffe://elsewhere/ns/a/sa/b"),
        roots="file-root:ca.pem",
        identity="file-cert:tls.crt~tls.key",
    ),
    "unchecked": ir.OriginTls(sni="api.example"),
}
SECURED["clients"] = gateway(
    clusters=(
        ir.Cluster(name=cluster_name(LB)),
        *(ir.Cluster(name=name, tls=tls) for name, tls in ENCRYPTED.items()),
        *(ir.Cluster(name=f"detected-{each.value}", protocol=each, tls=_DETECTED) for each in ir.Protocol),
    ),
    endpoints=(
        members(cluster_name(LB), "10.244.0.3"),
        *(
            ir.Endpoints(
                cluster=name, members=(ir.Endpoint(address="10.244.0.5", port=9180, workload="cache", mtls=True),)
            )
            for name in (*ENCRYPTED, *(f"detected-{each.value}" for each in ir.Protocol))
        ),
    ),
)
SECURED["dialling"] = replace(
    sidecar(), clusters=(ir.Cluster(name=cluster_name(CACHE), protocol=ir.Protocol.AUTO, tls=_DETECTED),)
)
_CERTIFICATE = ir.ServerTls(identity="kubernetes://shop", words=("h2", "http/1.1"))
SECURED["servers"] = replace(
    gateway(),
    gateways=(
        ir.GatewayPort(
            address="127.0.0.1",
            port=8443,
            servers=(
                ir.GatewayServer(name="shop", hosts=("shop.example",), tls=_CERTIFICATE, routes="http.8080"),
                ir.GatewayServer(
                    name="mutual",
                    hosts=("*.partner.example",),
                    tls=replace(
                        _CERTIFICATE,
                        roots="kubernetes://shop-cacert",
                        names=("client.partner.example",),
                        oldest="1.2",
                        newest="1.2",
                        ciphers=("ECDHE-ECDSA-AES128-GCM-SHA256",),
                    ),
                    routes="http.8080",
                ),
                ir.GatewayServer(
                    name="terminated",
                    hosts=("tcp.example",),
                    tls=ir.ServerTls(identity="file-cert:tls.crt~tls.key"),
                    tcp=(ir.TcpRoute(name="db", to=(ir.WeightedCluster(cluster=cluster_name(LB)),)),),
                ),
                ir.GatewayServer(
                    name="through",
                    tcp=(
                        ir.TcpRoute(
                            name="through",
                            to=(ir.WeightedCluster(cluster=cluster_name(LB)),),
                            server_names=("through.example",),
                            tls=True,
                        ),
                    ),
                ),
            ),
        ),
    ),
)
CASES |= {f"tls-{name}": proxy for name, proxy in SECURED.items()}

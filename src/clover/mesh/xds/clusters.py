"""Clusters and their endpoints: where a proxy may send to, and how carefully."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.common.matcher.v3.matcher_pb2 import MatchPredicate
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2, socket_option_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.ir import BLACK_HOLE, PASSTHROUGH
from clover.mesh.xds import tls, ways
from clover.mesh.xds.messages import duration, over_ads, socket_address
from clover.mesh.xds.resource import ENDPOINTS, Resource, packed, resource
from clover.mesh.xds.settings import DEFAULTS, Settings
from clover.mesh.xds.ways import UNIX

INBOUND_PASSTHROUGH = "InboundPassthroughCluster"

UNLIMITED = 2**32 - 1
RING_SIZE = 1024
"""Istio's minimum size of a hash ring."""
_CONNECT_TIMEOUT_S = 10.0
_NEVER_SET = "clover.slow_start_aggression"
"""Envoy wants the name of a run-time setting beside the number."""
_SOL_SOCKET, _SO_MARK = 1, 36

_BY_NAME = {ir.Discovery.DNS: Cluster.STRICT_DNS, ir.Discovery.DNS_ROUND_ROBIN: Cluster.LOGICAL_DNS}
_POLICIES = {
    ir.Balancing.ROUND_ROBIN: Cluster.ROUND_ROBIN,
    ir.Balancing.LEAST_REQUEST: Cluster.LEAST_REQUEST,
    ir.Balancing.RANDOM: Cluster.RANDOM,
    ir.Balancing.PASSTHROUGH: Cluster.CLUSTER_PROVIDED,
    ir.Balancing.RING_HASH: Cluster.RING_HASH,
    ir.Balancing.MAGLEV: Cluster.MAGLEV,
}


def resolves_names(cluster: ir.Cluster, settings: Settings) -> bool:
    """Tell whether a proxy finds the members of a cluster by their names."""
    return cluster.discovery in _BY_NAME and not settings.way_out


@remembered
def outbound(
    cluster: ir.Cluster, settings: Settings = DEFAULTS, *, named: tuple[ir.Endpoint, ...] | None = None
) -> Resource:
    """
    Return a cluster whose endpoints come over ADS, or are whatever address was dialled.

    Those that are `named` stand in it: the proxy resolves their names itself.
    """
    passthrough = cluster.balancing is ir.Balancing.PASSTHROUGH
    told = not passthrough and named is None
    message = Cluster(
        name=cluster.name,
        type=_BY_NAME[cluster.discovery] if named is not None else Cluster.EDS if told else Cluster.ORIGINAL_DST,
        lb_policy=_POLICIES[cluster.balancing],
        connect_timeout=duration(cluster.limits.connect_timeout_s),
    )
    if told:
        message.eds_cluster_config.eds_config.CopyFrom(over_ads())
    if named is not None:
        message.load_assignment.CopyFrom(_assignment(ir.Endpoints(cluster=cluster.name, members=named), settings))
        message.dns_lookup_family = Cluster.V4_PREFERRED
        message.respect_dns_ttl = True
    if cluster.balancing is ir.Balancing.RING_HASH:
        message.ring_hash_lb_config.minimum_ring_size.value = cluster.ring_size or RING_SIZE
    elif cluster.balancing is ir.Balancing.MAGLEV and cluster.ring_size:
        message.maglev_lb_config.table_size.value = cluster.ring_size
    if cluster.warmup:
        _warm_up(message, cluster.warmup)
    _limit(message, cluster.limits)
    _watch(message, cluster.outliers)
    _speak(
        message,
        cluster.protocol,
        # The way out asks for a name once for each connection.
        replace(cluster.limits, max_requests_per_connection=1)
        if cluster.discovery is ir.Discovery.ASKED
        else cluster.limits,
        h2_upgrade=cluster.h2_upgrade,
        names_host=tls.names_host(cluster.tls),
        errors=cluster.outliers.statuses if cluster.outliers else (),
    )
    secrets = tuple(tls.protect(message, cluster))
    return resource(
        cluster.name,
        message,
        requires=[*([(ENDPOINTS, cluster.name)] if told else ()), *secrets],
        sources=cluster.sources,
    )


@remembered
def endpoints(group: ir.Endpoints, settings: Settings = DEFAULTS) -> Resource:
    """Return the members of a cluster as they are told to a proxy."""
    return resource(group.cluster, _assignment(group, settings))


def _assignment(group: ir.Endpoints, settings: Settings) -> endpoint_pb2.ClusterLoadAssignment:
    """Return the members of a cluster; their order does not matter, so it is made the same every time."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=group.cluster)
    # Only the way out can look up whatever name is asked for: without it nobody is there.
    known = (member for member in group.members if settings.way_out or not member.address.startswith("*"))
    for locality, members in groupby(sorted(known, key=_place), key=lambda member: member.locality):
        place = message.endpoints.add()
        if locality:
            region, _, rest = locality.partition("/")
            zone, _, sub_zone = rest.partition("/")
            place.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
        for member in members:
            # The host name is for readers of the admin interface only.
            told = place.lb_endpoints.add(
                endpoint=endpoint_components_pb2.Endpoint(
                    address=_address(member, settings), hostname=member.workload or f"{member.address}:{member.port}"
                )
            )
            if member.mtls:
                told.metadata.filter_metadata["envoy.transport_socket_match"][tls.TLS_MODE] = "istio"
            if member.weight != 1:
                told.load_balancing_weight.value = member.weight
    return message


def _place(member: ir.Endpoint) -> tuple[str, str, int]:
    return member.locality, member.address, member.port


def _address(member: ir.Endpoint, settings: Settings) -> address_pb2.Address:
    if member.address.startswith(UNIX):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=member.address.removeprefix(UNIX)))
    if way := ways.way_to(member, settings):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=way.socket))
    return socket_address(member.address, member.port)


@remembered
def inbound(port: ir.InboundPort, settings: Settings) -> tuple[Resource, ...]:
    """Return the clusters that are the proxy's own function, dialled from a source address that is let through."""
    # In this order: where both have one name, it is the plain one.
    limits = {inbound_once_name(port): _ONCE, inbound_name(port): ir.NO_LIMITS}
    found = []
    for name, limit in limits.items():
        message = _own_function(name, port, settings)
        _speak(message, port.protocol, limit, h2_upgrade=False)
        found.append(resource(name, message))
    return tuple(found)


def _own_function(name: str, port: ir.InboundPort, settings: Settings) -> Cluster:
    """Return where a port of the function leads: to what was dialled, or where a policy says that the function is."""
    if not port.endpoint:
        return _original_destination(name, settings, source=settings.inbound_source)
    message = Cluster(name=name, type=Cluster.STATIC, connect_timeout=duration(_CONNECT_TIMEOUT_S))
    if port.endpoint.startswith(UNIX):
        member = ir.Endpoint(address=port.endpoint, port=0, workload="")
    else:
        host, _, number = port.endpoint.rpartition(":")
        member = ir.Endpoint(address=host, port=int(number), workload="")
        _dial_from(message, settings.inbound_source, settings)
    message.load_assignment.CopyFrom(_assignment(ir.Endpoints(cluster=name, members=(member,)), settings))
    _limit(message, ir.NO_LIMITS)
    return message


def inbound_name(port: ir.InboundPort) -> str:
    """Return Istio's name of an inbound cluster."""
    return f"inbound|{port.port}||"


def inbound_once_name(port: ir.InboundPort) -> str:
    """
    Return the name of the inbound cluster whose connections carry one request each.

    HTTP/2 needs none: its server says which of the requests on a closing connection it has not taken. TCP has none.
    """
    if port.protocol in (ir.Protocol.AUTO, ir.Protocol.HTTP):
        return f"inbound|{port.port}|once|"
    return inbound_name(port)


_ONCE = ir.Limits(max_requests_per_connection=1)


@remembered
def built_in(settings: Settings) -> tuple[Resource, ...]:
    """Return the clusters that interception needs: one that leads nowhere, and two that let pass."""
    black_hole = Cluster(name=BLACK_HOLE, type=Cluster.STATIC, connect_timeout=duration(_CONNECT_TIMEOUT_S))
    out = _original_destination(PASSTHROUGH, settings)
    into = _original_destination(INBOUND_PASSTHROUGH, settings, source=settings.inbound_source)
    for message in (out, into):
        _speak(message, ir.Protocol.AUTO, ir.NO_LIMITS, h2_upgrade=False)
    return tuple(resource(message.name, message) for message in (black_hole, out, into))


def _original_destination(name: str, settings: Settings, *, source: str = "") -> Cluster:
    message = Cluster(
        name=name,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=duration(_CONNECT_TIMEOUT_S),
    )
    if source:
        _dial_from(message, source, settings)
    _limit(message, ir.NO_LIMITS)
    return message


def _dial_from(message: Cluster, source: str, settings: Settings) -> None:
    message.upstream_bind_config.source_address.CopyFrom(socket_address(source, 0).socket_address)
    if settings.mark:
        # A cluster's own bind configuration replaces the bootstrap's, mark and all.
        message.upstream_bind_config.socket_options.add(
            description="mark",
            level=_SOL_SOCKET,
            name=_SO_MARK,
            int_value=settings.mark,
            state=socket_option_pb2.SocketOption.STATE_PREBIND,
        )


def _limit(message: Cluster, limits: ir.Limits) -> None:
    """Set the circuit breaker: no limit unless the author sets one, where Envoy's own default would be 1024."""
    threshold = message.circuit_breakers.thresholds.add(track_remaining=True)
    for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        value = getattr(limits, name)
        getattr(threshold, name).value = UNLIMITED if value is None else value
    if limits.retry_budget is not None:
        threshold.retry_budget.budget_percent.value = limits.retry_budget.percent
        threshold.retry_budget.min_retry_concurrency.value = limits.retry_budget.least
    if limits.keepalive is not None:
        keepalive = message.upstream_connection_options.tcp_keepalive
        keepalive.SetInParent()
        for name, value in (
            ("keepalive_probes", limits.keepalive.probes),
            ("keepalive_time", limits.keepalive.time_s),
            ("keepalive_interval", limits.keepalive.interval_s),
        ):
            if value is not None:
                getattr(keepalive, name).value = value


def _warm_up(message: Cluster, warmup: ir.Warmup) -> None:
    """Let the share of an endpoint grow that has just come."""
    chosen = (
        message.round_robin_lb_config if message.lb_policy == Cluster.ROUND_ROBIN else message.least_request_lb_config
    )
    start = chosen.slow_start_config
    start.slow_start_window.CopyFrom(duration(warmup.window_s))
    if warmup.aggression is not None:
        start.aggression.default_value = warmup.aggression
        start.aggression.runtime_key = _NEVER_SET
    if warmup.least_percent is not None:
        start.min_weight_percent.value = warmup.least_percent


def _watch(message: Cluster, outliers: ir.OutlierDetection | None) -> None:
    if outliers is None:
        return
    detection = message.outlier_detection
    detection.interval.CopyFrom(duration(outliers.interval_s))
    detection.base_ejection_time.CopyFrom(duration(outliers.base_ejection_s))
    detection.max_ejection_percent.value = outliers.max_ejection_percent
    detection.enforcing_success_rate.value = 0
    detection.split_external_local_origin_errors = outliers.split_local_origin_errors
    for count, name, enforcing in (
        (outliers.consecutive_5xx, "consecutive_5xx", "enforcing_consecutive_5xx"),
        (
            outliers.consecutive_gateway_errors,
            "consecutive_gateway_failure",
            "enforcing_consecutive_gateway_failure",
        ),
    ):
        # A count that the author did not ask for must not eject: Envoy counts to 5 by itself.
        getattr(detection, enforcing).value = 0 if not count else 100
        if count:
            getattr(detection, name).value = count
    if outliers.split_local_origin_errors:
        # No longer among the 5xx, connections that fail still eject by themselves: after 5, as Envoy has it.
        detection.enforcing_local_origin_success_rate.value = 0
        if outliers.consecutive_local_origin_failures:
            detection.consecutive_local_origin_failure.value = outliers.consecutive_local_origin_failures
            detection.enforcing_consecutive_local_origin_failure.value = 100
    # 0 (the default): traffic is refused rather than sent to endpoints that are known to be bad.
    message.common_lb_config.healthy_panic_threshold.value = float(outliers.min_health_percent)


def _speak(
    message: Cluster,
    protocol: ir.Protocol,
    limits: ir.Limits,
    *,
    h2_upgrade: bool,
    names_host: bool = False,
    errors: tuple[int, ...] = (),
) -> None:
    """Choose the protocol towards the endpoints, and its `errors`; `AUTO` speaks what the client spoke."""
    options = HttpProtocolOptions()
    http2 = protocol_pb2.Http2ProtocolOptions()
    if limits.max_concurrent_streams is not None:
        http2.max_concurrent_streams.value = limits.max_concurrent_streams
    if limits.http2_keepalive is not None:
        http2.connection_keepalive.interval.CopyFrom(duration(limits.http2_keepalive.interval_s))
        http2.connection_keepalive.timeout.CopyFrom(duration(limits.http2_keepalive.timeout_s))
    if protocol is ir.Protocol.HTTP2 or h2_upgrade:
        options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
    elif protocol is ir.Protocol.AUTO:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2)
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    if names_host:
        options.upstream_http_protocol_options.auto_sni = True
    common = options.common_http_protocol_options
    if limits.idle_timeout_s is not None:
        common.idle_timeout.CopyFrom(duration(limits.idle_timeout_s))
    if limits.max_connection_duration_s is not None:
        common.max_connection_duration.CopyFrom(duration(limits.max_connection_duration_s))
    if limits.max_requests_per_connection:
        common.max_requests_per_connection.value = limits.max_requests_per_connection
    if errors:
        options.outlier_detection.error_matcher.CopyFrom(_one_of(errors))
    message.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(
        packed(options)
    )


def _one_of(statuses: Iterable[int]) -> MatchPredicate:
    """Return a test for answers with one of these statuses."""
    tests = [_has_status(status) for status in statuses]
    return tests[0] if len(tests) == 1 else MatchPredicate(or_match=MatchPredicate.MatchSet(rules=tests))


def _has_status(status: int) -> MatchPredicate:
    header = HeaderMatcher(name=":status")
    header.string_match.exact = str(status)
    result = MatchPredicate()
    result.http_response_headers_match.headers.append(header)
    return result

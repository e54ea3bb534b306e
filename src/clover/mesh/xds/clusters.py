"""Clusters and their endpoints: where a proxy may send to, and how carefully."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import protocol_pb2, socket_option_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf import duration_pb2

from clover.mesh import ir
from clover.mesh.xds.http import over_ads, socket_address
from clover.mesh.xds.resource import ENDPOINTS, Resource, packed, resource
from clover.mesh.xds.settings import Settings

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"

UNLIMITED = 2**32 - 1
RING_SIZE = 1024
"""Istio's minimum size of a hash ring."""
_CONNECT_TIMEOUT_S = 10.0
_SOL_SOCKET, _SO_MARK = 1, 36

_POLICIES = {
    ir.Balancing.ROUND_ROBIN: Cluster.ROUND_ROBIN,
    ir.Balancing.LEAST_REQUEST: Cluster.LEAST_REQUEST,
    ir.Balancing.RANDOM: Cluster.RANDOM,
    ir.Balancing.PASSTHROUGH: Cluster.CLUSTER_PROVIDED,
    ir.Balancing.RING_HASH: Cluster.RING_HASH,
    ir.Balancing.MAGLEV: Cluster.MAGLEV,
}


def duration(seconds: float) -> duration_pb2.Duration:
    """Return seconds as protobuf counts them, to the nearest microsecond."""
    result = duration_pb2.Duration()
    result.FromMicroseconds(round(seconds * 1_000_000))
    return result


@lru_cache(maxsize=8192)
def outbound(cluster: ir.Cluster) -> Resource:
    """Return a cluster whose endpoints come over ADS (or are whatever address was dialled)."""
    passthrough = cluster.balancing is ir.Balancing.PASSTHROUGH
    message = Cluster(
        name=cluster.name,
        type=Cluster.ORIGINAL_DST if passthrough else Cluster.EDS,
        lb_policy=_POLICIES[cluster.balancing],
        connect_timeout=duration(cluster.limits.connect_timeout_s),
    )
    if not passthrough:
        message.eds_cluster_config.eds_config.CopyFrom(over_ads())
    if cluster.balancing is ir.Balancing.RING_HASH:
        message.ring_hash_lb_config.minimum_ring_size.value = cluster.ring_size or RING_SIZE
    elif cluster.balancing is ir.Balancing.MAGLEV and cluster.ring_size:
        message.maglev_lb_config.table_size.value = cluster.ring_size
    _limit(message, cluster.limits)
    _watch(message, cluster.outliers)
    _speak(message, cluster.protocol, cluster.limits, h2_upgrade=cluster.h2_upgrade)
    return resource(
        cluster.name,
        message,
        requires=() if passthrough else [(ENDPOINTS, cluster.name)],
        sources=cluster.sources,
    )


@lru_cache(maxsize=8192)
def endpoints(group: ir.Endpoints) -> Resource:
    """Return the members of a cluster; their order does not matter, so it is made the same every time."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=group.cluster)
    if group.members:
        locality = message.endpoints.add()
        for member in sorted(group.members, key=lambda member: (member.address, member.port)):
            # The host name is for readers of the admin interface only.
            locality.lb_endpoints.add(
                endpoint=endpoint_components_pb2.Endpoint(
                    address=socket_address(member.address, member.port), hostname=member.workload
                )
            )
    return resource(group.cluster, message)


@lru_cache(maxsize=1024)
def inbound(port: ir.InboundPort, settings: Settings) -> tuple[Resource, ...]:
    """Return the clusters that are the proxy's own function, dialled from a source address that is let through."""
    # In this order: where both have one name, it is the plain one.
    limits = {inbound_once_name(port): _ONCE, inbound_name(port): ir.Limits()}
    found = []
    for name, limit in limits.items():
        message = _original_destination(name, settings, source=settings.inbound_source)
        _speak(message, port.protocol, limit, h2_upgrade=False)
        found.append(resource(name, message))
    return tuple(found)


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


@lru_cache(maxsize=64)
def built_in(settings: Settings) -> tuple[Resource, ...]:
    """Return the clusters that interception needs: one that leads nowhere, and two that let pass."""
    black_hole = Cluster(name=BLACK_HOLE, type=Cluster.STATIC, connect_timeout=duration(_CONNECT_TIMEOUT_S))
    out = _original_destination(PASSTHROUGH, settings)
    into = _original_destination(INBOUND_PASSTHROUGH, settings, source=settings.inbound_source)
    for message in (out, into):
        _speak(message, ir.Protocol.AUTO, ir.Limits(), h2_upgrade=False)
    return tuple(resource(message.name, message) for message in (black_hole, out, into))


def _original_destination(name: str, settings: Settings, *, source: str = "") -> Cluster:
    message = Cluster(
        name=name,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=duration(_CONNECT_TIMEOUT_S),
    )
    if source:
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
    _limit(message, ir.Limits())
    return message


def _limit(message: Cluster, limits: ir.Limits) -> None:
    """Set the circuit breaker: no limit unless the author sets one, where Envoy's own default would be 1024."""
    threshold = message.circuit_breakers.thresholds.add(track_remaining=True)
    for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        value = getattr(limits, name)
        getattr(threshold, name).value = UNLIMITED if value is None else value
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
        (
            outliers.consecutive_local_origin_failures,
            "consecutive_local_origin_failure",
            "enforcing_consecutive_local_origin_failure",
        ),
    ):
        # A count that the author did not ask for must not eject: Envoy counts to 5 by itself.
        getattr(detection, enforcing).value = 0 if not count else 100
        if count:
            getattr(detection, name).value = count
    # 0 (the default): traffic is refused rather than sent to endpoints that are known to be bad.
    message.common_lb_config.healthy_panic_threshold.value = float(outliers.min_health_percent)


def _speak(message: Cluster, protocol: ir.Protocol, limits: ir.Limits, *, h2_upgrade: bool) -> None:
    """Choose the protocol towards the endpoints; `AUTO` speaks what the client spoke."""
    options = HttpProtocolOptions()
    http2 = protocol_pb2.Http2ProtocolOptions()
    if limits.max_concurrent_streams is not None:
        http2.max_concurrent_streams.value = limits.max_concurrent_streams
    if protocol is ir.Protocol.HTTP2 or h2_upgrade:
        options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
    elif protocol is ir.Protocol.AUTO:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2)
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    common = options.common_http_protocol_options
    if limits.idle_timeout_s is not None:
        common.idle_timeout.CopyFrom(duration(limits.idle_timeout_s))
    if limits.max_connection_duration_s is not None:
        common.max_connection_duration.CopyFrom(duration(limits.max_connection_duration_s))
    if limits.max_requests_per_connection:
        common.max_requests_per_connection.value = limits.max_requests_per_connection
    message.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(
        packed(options)
    )

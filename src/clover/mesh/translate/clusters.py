"""Services and DestinationRules into clusters, and the workloads behind them into endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clover.mesh import ir
from clover.mesh.istio import resources
from clover.mesh.istio.kinds.destination_rule import (
    ConsistentHashLB,
    HTTPSettings,
    LoadBalancerSettings,
    Subset,
    TCPSettings,
    TrafficPolicy,
)
from clover.mesh.istio.policies import Policies, members, outsiders, policy_for
from clover.mesh.istio.registry import Outsider, Registry, Resolution, Service, ServicePort
from clover.mesh.istio.resources import DestinationRule
from clover.mesh.translate.peers import client_tls, takes_mutual_tls
from clover.mesh.translate.protocols import protocol_of

_BALANCING = {
    "LEAST_CONN": ir.Balancing.LEAST_REQUEST,
    "RANDOM": ir.Balancing.RANDOM,
    "ROUND_ROBIN": ir.Balancing.ROUND_ROBIN,
    "PASSTHROUGH": ir.Balancing.PASSTHROUGH,
}
_DISCOVERY = {
    Resolution.DNS: ir.Discovery.DNS,
    Resolution.DNS_ROUND_ROBIN: ir.Discovery.DNS_ROUND_ROBIN,
    Resolution.DYNAMIC_DNS: ir.Discovery.ASKED,
}
_PROXY_PROTOCOL = {"V1": 1, "V2": 2}
_WARMED_UP = (ir.Balancing.LEAST_REQUEST, ir.Balancing.ROUND_ROBIN)
_CONSECUTIVE_5XX = 5
"""What Envoy counts to when outlier detection is on and nobody says a number."""


def cluster_name(service: Service, port: int, subset: str = "") -> str:
    """Return Istio's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{service.host}"


def clusters_from(
    service: Service, rule: DestinationRule | None, registry: Registry, policies: Policies, *, gateway: bool
) -> Iterator[tuple[ir.Cluster, ir.Endpoints]]:
    """
    Yield the cluster of every port of a service and of every subset, as clients see them that obey `rule`.

    A gateway cannot tell what an undeclared port speaks from what its own client speaks: it uses HTTP/1.1.
    """
    sources = (*filter(None, [service.source]), *([resources.key(rule)] if rule else ()))
    for port in service.ports:
        protocol = protocol_of(port)
        if gateway and protocol is ir.Protocol.AUTO:
            protocol = ir.Protocol.HTTP
        for subset in (None, *(rule.spec.subsets if rule else ())):
            policy = policy_for(rule, port.number, subset)
            named = subset.name if subset else ""
            name = cluster_name(service, port.number, named)
            tls = client_tls(policy.tls, service, port.number, named, registry)
            members = _endpoints(name, registry, policies, service, port, subset)
            yield _found(_cluster(name, protocol, policy, tls, sources), service, members), members


def _found(cluster: ir.Cluster, service: Service, members: ir.Endpoints) -> ir.Cluster:
    """Return a cluster with the way in which its members are found; nobody can resolve the name of none."""
    if service.resolution is Resolution.NONE:
        dialled = ir.Balancing.PASSTHROUGH
        return replace(cluster, discovery=ir.Discovery.DIALLED, balancing=dialled, ring_size=None, warmup=None)
    discovery = _DISCOVERY.get(service.resolution) if members.members else None
    return replace(cluster, discovery=discovery) if discovery else cluster


def _cluster(
    name: str,
    protocol: ir.Protocol,
    policy: TrafficPolicy,
    tls: ir.MeshTls | ir.OriginTls | None,
    sources: tuple[str, ...],
) -> ir.Cluster:
    pool = policy.connection_pool
    http = (pool.http if pool else None) or HTTPSettings()
    tcp = (pool.tcp if pool else None) or TCPSettings()
    balancer = policy.load_balancer
    balancing = _BALANCING.get((balancer.simple if balancer else "") or "", ir.Balancing.LEAST_REQUEST)
    size = None
    if balancer and balancer.consistent_hash:
        balancing, size = _hashing(balancer.consistent_hash)
    if http.use_client_protocol and protocol is ir.Protocol.HTTP:
        protocol = ir.Protocol.AUTO
    return ir.Cluster(
        name=name,
        protocol=protocol,
        balancing=balancing,
        ring_size=size,
        warmup=_warmup(balancer) if balancer and balancing in _WARMED_UP else None,
        limits=replace(_limits(tcp, http), retry_budget=_retry_budget(policy)),
        outliers=_outliers(policy),
        h2_upgrade=http.h2_upgrade_policy == "UPGRADE" and not http.use_client_protocol,
        tls=tls,
        proxy_protocol=_PROXY_PROTOCOL[policy.proxy_protocol.version] if policy.proxy_protocol else 0,
        sources=sources,
    )


def _hashing(choice: ConsistentHashLB) -> tuple[ir.Balancing, int | None]:
    if choice.maglev:
        return ir.Balancing.MAGLEV, choice.maglev.table_size or None
    size = choice.ring_hash.minimum_ring_size if choice.ring_hash else choice.minimum_ring_size
    return ir.Balancing.RING_HASH, size or None


def _warmup(balancer: LoadBalancerSettings) -> ir.Warmup | None:
    if wanted := balancer.warmup:
        return ir.Warmup(window_s=wanted.duration, aggression=wanted.aggression, least_percent=wanted.minimum_percent)
    return ir.Warmup(window_s=balancer.warmup_duration_secs) if balancer.warmup_duration_secs else None


def _retry_budget(policy: TrafficPolicy) -> ir.RetryBudget | None:
    wanted, unsaid = policy.retry_budget, ir.RetryBudget()
    if wanted is None:
        return None
    percent = unsaid.percent if wanted.percent is None else wanted.percent
    return ir.RetryBudget(percent=percent, least=wanted.min_retry_concurrency or unsaid.least)


def lifetime_of(policy: TrafficPolicy) -> ir.Lifetime:
    """Return how long connections are kept whose bytes are not read."""
    pool = policy.connection_pool
    if pool is None or pool.tcp is None:
        return ir.AS_LONG_AS_USED
    return ir.Lifetime(idle_s=pool.tcp.idle_timeout, most_s=pool.tcp.max_connection_duration)


def _limits(tcp: TCPSettings, http: HTTPSettings) -> ir.Limits:
    keepalive, probes = tcp.tcp_keepalive, http.http2_keep_alive
    return ir.Limits(
        max_connections=tcp.max_connections or None,
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_retries=http.max_retries or None,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_concurrent_streams=http.max_concurrent_streams or None,
        connect_timeout_s=tcp.connect_timeout or ir.NO_LIMITS.connect_timeout_s,
        idle_timeout_s=tcp.idle_timeout if http.idle_timeout is None else http.idle_timeout,
        max_connection_duration_s=tcp.max_connection_duration,
        keepalive=ir.Keepalive(
            probes=keepalive.probes or None,
            time_s=_whole(keepalive.time),
            interval_s=_whole(keepalive.interval),
        )
        if keepalive
        else None,
        http2_keepalive=ir.Http2Keepalive(interval_s=probes.interval, timeout_s=probes.timeout) if probes else None,
    )


def _outliers(policy: TrafficPolicy) -> ir.OutlierDetection | None:
    wanted = policy.outlier_detection
    if wanted is None:
        return None
    unsaid = ir.OutlierDetection()
    five = wanted.consecutive_5xx_errors
    split = wanted.split_external_local_origin_errors
    return ir.OutlierDetection(
        consecutive_5xx=(_CONSECUTIVE_5XX if five is None else five) or None,
        consecutive_gateway_errors=wanted.consecutive_gateway_errors or None,
        consecutive_local_origin_failures=(wanted.consecutive_local_origin_failures or None) if split else None,
        split_local_origin_errors=split,
        interval_s=wanted.interval or unsaid.interval_s,
        base_ejection_s=wanted.base_ejection_time or unsaid.base_ejection_s,
        max_ejection_percent=wanted.max_ejection_percent or unsaid.max_ejection_percent,
        min_health_percent=wanted.min_health_percent,
        statuses=wanted.outlier_detection_http_error_codes,
    )


def _endpoints(
    name: str, registry: Registry, policies: Policies, service: Service, port: ServicePort, subset: Subset | None
) -> ir.Endpoints:
    return ir.Endpoints(
        cluster=name,
        members=(
            *(
                ir.Endpoint(
                    address=workload.address,
                    port=port.target,
                    workload=workload.name,
                    mtls=takes_mutual_tls(workload, port.target, registry, policies),
                )
                for workload in members(registry, service, subset)
                if workload.ready
            ),
            *(_outside(member, port) for member in outsiders(service, subset)),
        ),
    )


def _outside(member: Outsider, port: ServicePort) -> ir.Endpoint:
    return ir.Endpoint(
        address=member.address,
        port=member.port_for(port),
        workload="",
        weight=member.weight,
        locality=member.locality,
        outside=True,
        loopback=member.loopback,
    )


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)

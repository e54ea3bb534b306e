"""Filter chains for connections whose bytes are not read: which of them, and where they go."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from clover.mesh import ir
from clover.mesh.xds.messages import duration, network_filter
from clover.mesh.xds.resource import packed

Log = Iterable[accesslog_pb2.AccessLog]
TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
_ASKED = "%REQUESTED_SERVER_NAME%:443"


def to_cluster(cluster: str, *, log: Log, lifetime: ir.Lifetime = ir.AS_LONG_AS_USED) -> Filter:
    """Return the filter that carries connections to a cluster."""
    return _carrying(_to_one(cluster, log), lifetime)


def _to_one(cluster: str, log: Log) -> tcp_proxy_pb2.TcpProxy:
    return tcp_proxy_pb2.TcpProxy(stat_prefix=cluster, cluster=cluster, access_log=log)


def _carrying(proxy: tcp_proxy_pb2.TcpProxy, lifetime: ir.Lifetime) -> Filter:
    if lifetime.idle_s is not None:
        proxy.idle_timeout.CopyFrom(duration(lifetime.idle_s))
    if lifetime.most_s is not None:
        proxy.max_downstream_connection_duration.CopyFrom(duration(lifetime.most_s))
    return network_filter("tcp_proxy", proxy)


def chain(route: ir.TcpRoute, *, name: str, log: Log) -> FilterChain:
    """Return the filter chain of a route; `detect_tls` must have looked where the route asks for TLS."""
    result = FilterChain(name=name)
    match_networks(result, route.destinations)
    result.filter_chain_match.server_names.extend(route.server_names)
    result.filter_chain_match.transport_protocol = "tls" if route.tls else "raw_buffer"
    if len(route.to) == 1:
        proxy = _to_one(route.to[0].cluster, log)
    else:
        proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=route.name, access_log=log)
        for share in route.to:
            proxy.weighted_clusters.clusters.add(name=share.cluster, weight=share.weight)
    if route.asked:
        # A CONNECT to the way out, which takes the name from it, and the port from the endpoint.
        proxy.tunneling_config.hostname = _ASKED
    result.filters.append(_carrying(proxy, route.lifetime))
    return result


def match_networks(chain: FilterChain, networks: Iterable[str]) -> None:
    """Let a chain take only connections that were made to an address of these networks; none: to any."""
    for text in networks:
        network = ipaddress.ip_network(text)
        prefix = chain.filter_chain_match.prefix_ranges.add(address_prefix=str(network.network_address))
        prefix.prefix_len.value = network.prefixlen


def detect_tls(message: Listener, *, timeout_s: float) -> None:
    """Look for the name that a TLS client says before a listener's filter chain is chosen."""
    if any(one.name == TLS_INSPECTOR for one in message.listener_filters):
        return
    message.listener_filters.add(name=TLS_INSPECTOR, typed_config=packed(tls_inspector_pb2.TlsInspector()))
    message.listener_filters_timeout.CopyFrom(duration(timeout_s))
    message.continue_on_listener_filters_timeout = True

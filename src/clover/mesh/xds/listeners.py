"""
Listeners: where a proxy takes connections, and what it takes them for.

Interception sends every connection of a function to `virtualOutbound` and every connection to it to `virtualInbound`.
The first hands a connection over to the listener of the address that was dialled, which binds no port of its own; the
second chooses a filter chain by the port that was dialled. Both refuse connections to their own port: a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilterChainMatchPredicate as Predicate
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from clover.mesh import ir
from clover.mesh.xds import access, authentication, clusters, http, routes, telemetry
from clover.mesh.xds.clusters import BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH, duration
from clover.mesh.xds.http import network_filter, socket_address
from clover.mesh.xds.resource import CLUSTER, ROUTES, Resource, packed, resource
from clover.mesh.xds.settings import Settings

_ANY = "0.0.0.0"  # noqa: S104 -- a proxy takes connections at all addresses of its own network

OUTBOUND = "virtualOutbound"
INBOUND = "virtualInbound"

# As on Istio, HTTP/1.0 on a protocol-detected port is carried as TCP: it has no Host and no keep-alive to rely on.
_HTTP_WORDS = ("http/1.1", "h2c")
# Named by the HTTP and the TCP chain of a port alike: Envoy compares one property after the other and never goes back,
# so that a chain which does not name it is out of reach once another one does.
_PLAINTEXT = "raw_buffer"
_HTTP_PROTOCOLS = (ir.Protocol.HTTP, ir.Protocol.HTTP2)


def outbound_name(port: ir.OutboundPort) -> str:
    """Return Istio's name of the listener of a service address."""
    return f"{port.address}_{port.port}"


def gateway_name(port: ir.GatewayPort) -> str:
    """Return the name of a listener on the host."""
    return f"{port.address}_{port.port}"


@lru_cache(maxsize=1024)
def virtual_outbound(identity: ir.Identity, settings: Settings) -> Resource:
    """Return the listener that takes all connections of the function; what no service address claims is let through."""
    message = _listener(OUTBOUND, _ANY, settings.outbound_port, identity, settings, direction="outbound")
    message.use_original_dst.value = True
    blackhole = message.filter_chains.add(name=f"{OUTBOUND}-blackhole")
    blackhole.filter_chain_match.destination_port.value = settings.outbound_port
    blackhole.filters.append(_tcp(BLACK_HOLE, identity, settings, direction="outbound"))
    message.filter_chains.add(
        name=f"{OUTBOUND}-catchall-tcp",
        filters=[_tcp(PASSTHROUGH, identity, settings, direction="outbound")],
    )
    return resource(OUTBOUND, message, requires=[(CLUSTER, BLACK_HOLE), (CLUSTER, PASSTHROUGH)])


@lru_cache(maxsize=4096)
def outbound(port: ir.OutboundPort, identity: ir.Identity, settings: Settings) -> Resource:
    """Return the listener of one service address: HTTP by its route table, all else to its cluster."""
    message = _listener(outbound_name(port), port.address, port.port, identity, settings, direction="outbound")
    message.bind_to_port.value = False
    needs: list[tuple[str, str]] = []
    if port.protocol is not ir.Protocol.TCP:
        _detect_http(message, settings)
        chain = message.filter_chains.add(name=f"{outbound_name(port)}-http")
        _match_http(chain)
        chain.filters.append(
            network_filter(
                "http_connection_manager",
                http.sidecar_manager(identity, settings, direction="outbound", table=port.routes),
            )
        )
        needs.append((ROUTES, port.routes))
    if port.protocol in _HTTP_PROTOCOLS:
        # Bytes that are not HTTP on a port that says it is: let through to the address that was dialled.
        cluster, chain = port.cluster or PASSTHROUGH, message.default_filter_chain
        chain.name = "PassthroughFilterChain"
    else:
        cluster, chain = port.cluster, message.filter_chains.add(name=f"{outbound_name(port)}-tcp")
        chain.filter_chain_match.transport_protocol = _PLAINTEXT
    chain.filters.append(_tcp(cluster, identity, settings, direction="outbound"))
    needs.append((CLUSTER, cluster))
    return resource(message.name, message, requires=needs)


@lru_cache(maxsize=1024)
def virtual_inbound(
    ports: tuple[ir.InboundPort, ...], guard: ir.Guard, identity: ir.Identity, settings: Settings
) -> Resource:
    """Return the listener that takes all connections to the function; ports it does not know are let through."""
    message = _listener(INBOUND, _ANY, settings.inbound_port, identity, settings, direction="inbound")
    message.listener_filters.add(
        name="envoy.filters.listener.original_dst", typed_config=packed(original_dst_pb2.OriginalDst())
    )
    blackhole = message.filter_chains.add(name=f"{INBOUND}-blackhole")
    blackhole.filter_chain_match.destination_port.value = settings.inbound_port
    blackhole.filters.append(_tcp(BLACK_HOLE, identity, settings, direction="inbound"))
    if detected := [port.port for port in ports if port.protocol is ir.Protocol.AUTO]:
        _detect_http(message, settings, only=detected)
    for port in ports:
        message.filter_chains.extend(_inbound_chains(port, guard, identity, settings))
    message.filter_chains.add(
        name=INBOUND,
        filters=[
            *access.tcp_filters(guard.access),
            _tcp(INBOUND_PASSTHROUGH, identity, settings, direction="inbound"),
        ],
    )
    return resource(
        INBOUND,
        message,
        requires=[
            (CLUSTER, name)
            for name in (
                BLACK_HOLE,
                INBOUND_PASSTHROUGH,
                *map(clusters.inbound_name, ports),
                *map(clusters.inbound_once_name, ports),
                *_asked_by(guard),
            )
        ],
    )


def _inbound_chains(
    port: ir.InboundPort, guard: ir.Guard, identity: ir.Identity, settings: Settings
) -> list[FilterChain]:
    """Return the chains of one port of the function: HTTP, TCP, or whichever its first bytes are."""
    name = f"{_ANY}_{port.port}"
    chains = []
    if port.protocol is not ir.Protocol.TCP:
        chain = FilterChain(name=f"{name}-http")
        chain.filter_chain_match.destination_port.value = port.port
        if port.protocol is ir.Protocol.AUTO:
            _match_http(chain)
        manager = http.sidecar_manager(
            identity, settings, direction="inbound", guard=guard, inline=routes.to_own_function(port)
        )
        chain.filters.append(network_filter("http_connection_manager", manager))
        chains.append(chain)
    if port.protocol not in _HTTP_PROTOCOLS:
        chain = FilterChain(name=f"{name}-tcp")
        chain.filter_chain_match.destination_port.value = port.port
        chain.filter_chain_match.transport_protocol = _PLAINTEXT
        chain.filters.extend(access.tcp_filters(guard.access))
        chain.filters.append(_tcp(clusters.inbound_name(port), identity, settings, direction="inbound"))
        chains.append(chain)
    return chains


@lru_cache(maxsize=1024)
def gateway(port: ir.GatewayPort, guard: ir.Guard, identity: ir.Identity, settings: Settings) -> Resource:
    """Return a listener for clients outside the mesh."""
    message = _listener(gateway_name(port), port.address, port.port, identity, settings, direction="gateway")
    if settings.gateway_proxy_protocol:
        message.listener_filters.add(
            name="envoy.filters.listener.proxy_protocol", typed_config=packed(proxy_protocol_pb2.ProxyProtocol())
        )
    message.filter_chains.add(
        name=gateway_name(port),
        filters=[
            network_filter(
                "http_connection_manager", http.gateway_manager(identity, settings, guard=guard, table=port.routes)
            )
        ],
    )
    needs = [(ROUTES, port.routes), *((CLUSTER, name) for name in _asked_by(guard))]
    return resource(message.name, message, requires=needs, sources=port.sources)


def _asked_by(guard: ir.Guard) -> tuple[str, ...]:
    """Return the clusters that decide about requests, or know the keys of tokens."""
    return (*access.clusters_of(guard.access), *authentication.clusters_of(guard.authentication))


def _listener(
    name: str, address: str, port: int, identity: ir.Identity, settings: Settings, *, direction: str
) -> Listener:
    return Listener(
        name=name,
        address=socket_address(address, port),
        traffic_direction=base_pb2.INBOUND if direction == "inbound" else base_pb2.OUTBOUND,
        # The only trace of a connection that no filter chain wants.
        access_log=telemetry.access_log(identity, settings, direction=direction, http=False, errors_only=True),
    )


def _detect_http(message: Listener, settings: Settings, *, only: Sequence[int] = ()) -> None:
    """
    Look at a connection's first bytes before its filter chain is chosen; with `only`, at those ports alone.

    Where nobody asks for the answer there is no looking: a client that waits for the server to speak first would wait
    for ever.
    """
    inspector = message.listener_filters.add(
        name="envoy.filters.listener.http_inspector", typed_config=packed(http_inspector_pb2.HttpInspector())
    )
    ranges = [Predicate(destination_port_range={"start": port, "end": port + 1}) for port in only]
    if len(ranges) == 1:
        inspector.filter_disabled.not_match.CopyFrom(ranges[0])
    elif ranges:
        inspector.filter_disabled.not_match.or_match.rules.extend(ranges)
    message.listener_filters_timeout.CopyFrom(duration(settings.detection_timeout_s))
    message.continue_on_listener_filters_timeout = True


def _match_http(chain: FilterChain) -> None:
    chain.filter_chain_match.transport_protocol = _PLAINTEXT
    chain.filter_chain_match.application_protocols.extend(_HTTP_WORDS)


def _tcp(cluster: str, identity: ir.Identity, settings: Settings, *, direction: str) -> listener_components_pb2.Filter:
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=cluster,
        cluster=cluster,
        access_log=telemetry.access_log(identity, settings, direction=direction, http=False),
    )
    return network_filter("tcp_proxy", proxy)

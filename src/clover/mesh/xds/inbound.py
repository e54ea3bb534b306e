"""
The listener that takes all connections to a function, and chooses a filter chain by port, TLS and first bytes.

Which chains a port has follows from its protocol and from whose connections it takes (Istio's table of both). Where a
chain cannot be chosen without a look at the first bytes, inspectors look; nowhere else, since a client that waits for
the server to speak first would wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilterChainMatchPredicate as Predicate
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from google.protobuf.message import Message

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.access import Access
from clover.mesh.ir import BLACK_HOLE
from clover.mesh.xds import access, clusters, http, listeners, routes, tcp, tls
from clover.mesh.xds.clusters import INBOUND_PASSTHROUGH
from clover.mesh.xds.messages import duration, network_filter
from clover.mesh.xds.resource import CLUSTER, Resource, packed, resource
from clover.mesh.xds.settings import DEFAULTS, Settings

NAME = "virtualInbound"
_HELLO_BYTES = 512
"""What is read first of a connection that may begin with TLS; most greetings are that short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One filter chain of a port: what it takes, and as what."""

    name: str
    http: bool
    transport: str
    """`tls` or `raw_buffer`. Said by every chain: Envoy compares one property after the other and never goes back, so
    that a chain which does not say it is out of reach once another one does."""
    words: tuple[str, ...] = ()
    """ALPN protocols, of TLS or as the first bytes look; empty: any."""
    mutual: bool = False
    """True: TLS ends here, and the caller proves who it is."""


_MUTUAL_HTTP = _Way(name="mtls-http", http=True, transport="tls", mutual=True)
_MUTUAL_TCP = _Way(name="mtls-tcp", http=False, transport="tls", mutual=True)
_HTTP = _Way(name="http", http=True, transport="raw_buffer")
_TCP = _Way(name="tcp", http=False, transport="raw_buffer")
_OTHER_TLS = _Way(name="tls", http=False, transport="tls")
"""TLS of the function's own, which nobody opens."""


def _only(way: _Way, words: tuple[str, ...]) -> _Way:
    return _Way(name=way.name, http=way.http, transport=way.transport, words=words, mutual=way.mutual)


_DETECTED_HTTP = _only(_HTTP, listeners.http_words(DEFAULTS))
_DETECTED_MUTUAL_HTTP = _only(_MUTUAL_HTTP, tls.HTTP_WORDS)
_WAYS = {
    ("permissive", "http"): (_only(_MUTUAL_HTTP, tls.WORDS), _HTTP),
    ("permissive", "tcp"): (_only(_MUTUAL_TCP, tls.WORDS), _OTHER_TLS, _TCP),
    ("permissive", "auto"): (
        _DETECTED_MUTUAL_HTTP,
        _DETECTED_HTTP,
        _only(_MUTUAL_TCP, tls.TCP_WORDS),
        _TCP,
        _OTHER_TLS,
    ),
    ("strict", "http"): (_MUTUAL_HTTP,),
    ("strict", "tcp"): (_MUTUAL_TCP,),
    ("strict", "auto"): (_DETECTED_MUTUAL_HTTP, _MUTUAL_TCP),
    ("disable", "http"): (_HTTP,),
    ("disable", "tcp"): (_TCP,),
    ("disable", "auto"): (_DETECTED_HTTP, _TCP),
}
"""Istio's table: whose connections are taken, and what is spoken → filter chains."""


def ways(mode: ir.PeerMode, protocol: ir.Protocol) -> tuple[_Way, ...]:
    """Return the filter chains of a port."""
    spoken = "http" if protocol is ir.Protocol.HTTP2 else protocol.value
    return _WAYS[mode.value, spoken]


@remembered
def virtual_inbound(
    ports: tuple[ir.InboundPort, ...],
    guard: ir.Guard,
    identity: ir.Identity,
    settings: Settings,
    peers: ir.Peers = ir.STRANGERS,
) -> Resource:
    """Return the listener that takes all connections to the function; ports it does not know are let through."""
    message = listeners.listener(NAME, listeners.ANY, settings.inbound_port, identity, settings, direction="inbound")
    message.listener_filters.add(name="envoy.filters.listener.original_dst", typed_config=packed(OriginalDst()))
    _inspect(message, ports, peers, settings)
    blackhole = message.filter_chains.add(name=f"{NAME}-blackhole")
    blackhole.filter_chain_match.destination_port.value = settings.inbound_port
    blackhole.filters.append(listeners.tcp_filter(BLACK_HOLE, identity, settings, direction="inbound"))
    mutual = tls.inbound(peers.domains)
    for port in ports:
        # Whatever a policy says of the listener's own port, a connection there would go round for ever.
        for way in ways(port.peers, port.protocol) if port.port != settings.inbound_port else ():
            words = listeners.http_words(settings) if way is _DETECTED_HTTP else way.words
            chain = _chain(f"{listeners.ANY}_{port.port}", _only(way, words), mutual, port=port.port)
            chain.filters.extend(_filters(port, way, guard.at_port(port.port), identity, settings))
            message.filter_chains.append(chain)
    elsewhere = guard.access.elsewhere([port.port for port in ports])
    for number, mode in (*peers.ports, (0, peers.mode)):
        for way in ways(mode, ir.Protocol.TCP) if number != settings.inbound_port else ():
            chain = _chain(f"{NAME}_{number}" if number else NAME, way, mutual, port=number)
            chain.filters.extend(_carrying(INBOUND_PASSTHROUGH, elsewhere, identity, settings))
            message.filter_chains.append(chain)
    return resource(NAME, message, requires=_needs(message, ports, guard), sources=guard.sources)


def _needs(message: Listener, ports: Iterable[ir.InboundPort], guard: ir.Guard) -> Iterator[tuple[str, str]]:
    for port in ports:
        yield CLUSTER, clusters.inbound_name(port)
        yield CLUSTER, clusters.inbound_once_name(port)
    yield from ((CLUSTER, name) for name in (BLACK_HOLE, INBOUND_PASSTHROUGH, *listeners.asked_by(guard)))
    if any(chain.HasField("transport_socket") for chain in message.filter_chains):
        yield from tls.IDENTITY_NEEDS


def _chain(name: str, way: _Way, mutual: TransportSocket, *, port: int) -> FilterChain:
    chain = FilterChain(name=f"{name}-{way.name}")
    match = chain.filter_chain_match
    if port:
        match.destination_port.value = port
    match.transport_protocol = way.transport
    match.application_protocols.extend(way.words)
    if way.mutual:
        chain.transport_socket.CopyFrom(mutual)
    return chain


def _filters(
    port: ir.InboundPort, way: _Way, guard: ir.Guard, identity: ir.Identity, settings: Settings
) -> Iterator[Filter]:
    if way.http:
        manager = http.sidecar_manager(
            identity,
            settings,
            direction="inbound",
            guard=guard,
            inline=routes.to_own_function(port),
            grpc_web=port.grpc_web,
        )
        yield network_filter("http_connection_manager", manager)
    else:
        yield from _carrying(clusters.inbound_name(port), guard.access, identity, settings)


def _carrying(cluster: str, allowed: Access, identity: ir.Identity, settings: Settings) -> Iterator[Filter]:
    """Yield what decides about a connection, and what carries it."""
    noted = access.noted(allowed, tcp=True)
    yield from access.tcp_filters(allowed)
    yield listeners.tcp_filter(cluster, identity, settings, direction="inbound", noted=noted)


def _inspect(message: Listener, ports: Iterable[ir.InboundPort], peers: ir.Peers, settings: Settings) -> None:
    """Look for TLS, and for HTTP, at those ports where it decides about the filter chain."""
    secured: dict[int, bool] = {settings.inbound_port: False}
    detected: dict[int, bool] = {settings.inbound_port: False}
    for port in ports:
        found = ways(port.peers, port.protocol)
        secured[port.port] = any(way.transport == "tls" for way in found)
        detected[port.port] = any(way.transport != "tls" and way.words for way in found)
    secured |= {number: mode is not ir.PeerMode.DISABLE for number, mode in peers.ports}
    others = peers.mode is not ir.PeerMode.DISABLE
    _look(message, tcp.TLS_INSPECTOR, TlsInspector(), secured, others=others)
    _look(message, "envoy.filters.listener.http_inspector", HttpInspector(), detected, others=False)
    if len(message.listener_filters) > 1:
        message.listener_filters_timeout.CopyFrom(duration(settings.detection_timeout_s))
        message.continue_on_listener_filters_timeout = True


def _look(message: Listener, name: str, inspector: Message, wanted: dict[int, bool], *, others: bool) -> None:
    """Add an inspector that looks where it is wanted; `others` are the ports that are not named."""
    if not others and not any(wanted.values()):
        return
    if isinstance(inspector, TlsInspector):
        inspector.initial_read_buffer_size.value = _HELLO_BYTES
    added = message.listener_filters.add(name=name, typed_config=packed(inspector))
    different = [port for port, looked_at in wanted.items() if looked_at is not others]
    if different:
        predicate = _one_of(different)
        added.filter_disabled.CopyFrom(predicate if others else Predicate(not_match=predicate))


def _one_of(ports: Iterable[int]) -> Predicate:
    ranges = [Predicate(destination_port_range={"start": port, "end": port + 1}) for port in ports]
    if len(ranges) == 1:
        return ranges[0]
    return Predicate(or_match=Predicate.MatchSet(rules=ranges))

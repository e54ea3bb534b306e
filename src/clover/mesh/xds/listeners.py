"""
Listeners: where a proxy takes connections, and what it takes them for.

Interception sends every connection of a function to `virtualOutbound` and every connection to it to `virtualInbound`.
The first hands a connection over to the listener of the address that was dialled, which binds no port of its own; the
second (`inbound`) chooses a filter chain by the port that was dialled. Both refuse connections to their own port: a
loop. Gateways have listeners of their own (`gateways`).
"""

from __future__ import annotations

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.ir import BLACK_HOLE, PASSTHROUGH
from clover.mesh.xds import access, authentication, http, tcp, telemetry, tls
from clover.mesh.xds.messages import duration, network_filter, socket_address
from clover.mesh.xds.resource import CLUSTER, ROUTES, Resource, packed, resource
from clover.mesh.xds.settings import Settings

ANY = "0.0.0.0"  # noqa: S104 -- a proxy takes connections at all addresses of its own network

OUTBOUND = "virtualOutbound"

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


@remembered
def virtual_outbound(identity: ir.Identity, settings: Settings, *, unclaimed: str = PASSTHROUGH) -> Resource:
    """Return the listener that takes all connections of the function, and where those go that no other one claims."""
    message = listener(OUTBOUND, ANY, settings.outbound_port, identity, settings, direction="outbound")
    message.use_original_dst.value = True
    blackhole = message.filter_chains.add(name=f"{OUTBOUND}-blackhole")
    blackhole.filter_chain_match.destination_port.value = settings.outbound_port
    blackhole.filters.append(tcp_filter(BLACK_HOLE, identity, settings, direction="outbound"))
    message.filter_chains.add(
        name=f"{OUTBOUND}-catchall-tcp",
        filters=[tcp_filter(unclaimed, identity, settings, direction="outbound")],
    )
    return resource(OUTBOUND, message, requires=[(CLUSTER, BLACK_HOLE), (CLUSTER, unclaimed)])


@remembered
def outbound(
    port: ir.OutboundPort, identity: ir.Identity, settings: Settings, says_http: frozenset[str] = frozenset()
) -> Resource:
    """
    Return the listener of one service address: HTTP by its route table, all else to its cluster.

    `says_http` are the clusters whose connections say that they carry HTTP unless told otherwise (`tls.says_http`).
    """
    message = listener(outbound_name(port), port.address, port.port, identity, settings, direction="outbound")
    message.bind_to_port.value = False
    needs: list[tuple[str, str]] = []
    if port.protocol is not ir.Protocol.TCP:
        _detect_http(message, settings)
        words = http_words(settings)
        manager = http.sidecar_manager(identity, settings, direction="outbound", table=port.routes)
        # Networks are compared first, and never again: where TCP is told apart by them, HTTP is in each of them too.
        known = tuple(dict.fromkeys(network for route in port.tcp for network in route.destinations))
        for networks in ((), known) if known else ((),):
            name = f"{outbound_name(port)}-http" + ("-networks" if networks else "")
            chain = message.filter_chains.add(name=name)
            chain.filter_chain_match.transport_protocol = _PLAINTEXT
            chain.filter_chain_match.application_protocols.extend(words)
            tcp.match_networks(chain, networks)
            chain.filters.append(network_filter("http_connection_manager", manager))
        needs.append((ROUTES, port.routes))
    if any(route.tls for route in port.tcp):
        tcp.detect_tls(message, timeout_s=settings.detection_timeout_s)
    for number, route in enumerate(port.tcp):
        name = f"{outbound_name(port)}-{route.name}-{number}"
        chain = tcp.chain(route, name=name, log=_log(identity, settings, "outbound"))
        tls.announce_tcp(chain, (share.cluster for share in route.to), says_http)
        message.filter_chains.append(chain)
        needs += [(CLUSTER, share.cluster) for share in route.to]
    if port.protocol in _HTTP_PROTOCOLS or not port.service:
        # Bytes that are not HTTP on a port that says it is: let through to the address that was dialled. And, at a port
        # that several services share, whatever is none of theirs, with TLS or without.
        cluster, chain = port.cluster or PASSTHROUGH, message.default_filter_chain
        chain.name = "PassthroughFilterChain"
        chain.filters.append(tcp_filter(cluster, identity, settings, direction="outbound", lifetime=port.lifetime))
        tls.announce_tcp(chain, [cluster], says_http)
        needs.append((CLUSTER, cluster))
    elif port.cluster:
        chain = message.filter_chains.add(name=f"{outbound_name(port)}-tcp")
        chain.filter_chain_match.transport_protocol = _PLAINTEXT
        chain.filters.append(tcp_filter(port.cluster, identity, settings, direction="outbound", lifetime=port.lifetime))
        tls.announce_tcp(chain, [port.cluster], says_http)
        needs.append((CLUSTER, port.cluster))
    return resource(
        message.name, message, requires=needs, sources=[source for route in port.tcp for source in route.sources]
    )


def http_words(settings: Settings) -> tuple[str, ...]:
    """
    Return what the first bytes of a connection look like that carries HTTP.

    As on Istio, HTTP/1.0 is carried as TCP unless it is asked for: it has no Host and no keep-alive to rely on.
    """
    return (*_HTTP_WORDS, "http/1.0") if settings.http10 else _HTTP_WORDS


def asked_by(guard: ir.Guard) -> tuple[str, ...]:
    """Return the clusters that decide about requests, or know the keys of tokens."""
    return (*access.clusters_of(guard.access), *authentication.clusters_of(guard.authentication))


def listener(
    name: str, address: str, port: int, identity: ir.Identity, settings: Settings, *, direction: str
) -> Listener:
    """Return a listener that takes nothing yet."""
    return Listener(
        name=name,
        address=socket_address(address, port),
        traffic_direction=base_pb2.INBOUND if direction == "inbound" else base_pb2.OUTBOUND,
        # The only trace of a connection that no filter chain wants.
        access_log=telemetry.access_log(identity, settings, direction=direction, http=False, errors_only=True),
    )


def _detect_http(message: Listener, settings: Settings) -> None:
    """Look at a connection's first bytes before its filter chain is chosen."""
    message.listener_filters.add(
        name="envoy.filters.listener.http_inspector", typed_config=packed(http_inspector_pb2.HttpInspector())
    )
    message.listener_filters_timeout.CopyFrom(duration(settings.detection_timeout_s))
    message.continue_on_listener_filters_timeout = True


def tcp_filter(
    cluster: str,
    identity: ir.Identity,
    settings: Settings,
    *,
    direction: str,
    noted: tuple[tuple[str, str], ...] = (),
    lifetime: ir.Lifetime = ir.AS_LONG_AS_USED,
) -> Filter:
    """Return the filter that carries connections to a cluster as they are; `noted` as in `telemetry.access_log`."""
    log = telemetry.access_log(identity, settings, direction=direction, http=False, noted=noted)
    return tcp.to_cluster(cluster, log=log, lifetime=lifetime)


def _log(identity: ir.Identity, settings: Settings, direction: str) -> tuple[accesslog_pb2.AccessLog, ...]:
    return telemetry.access_log(identity, settings, direction=direction, http=False)

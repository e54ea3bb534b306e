"""Listeners for clients outside the mesh: plain HTTP, and servers told apart by the name that a TLS client asks for."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.xds import access, http, listeners, tcp, telemetry, tls
from clover.mesh.xds.messages import network_filter
from clover.mesh.xds.resource import CLUSTER, ROUTES, Resource, packed, resource
from clover.mesh.xds.settings import Settings


@remembered
def gateway(
    port: ir.GatewayPort,
    guard: ir.Guard,
    identity: ir.Identity,
    settings: Settings,
    says_http: frozenset[str] = frozenset(),
) -> Resource:
    """Return a listener for clients outside the mesh; `says_http` as in `tls.says_http`."""
    name = listeners.gateway_name(port)
    message = listeners.listener(name, port.address, port.port, identity, settings, direction="gateway")
    if settings.gateway_proxy_protocol:
        message.listener_filters.add(
            name="envoy.filters.listener.proxy_protocol", typed_config=packed(proxy_protocol_pb2.ProxyProtocol())
        )
    if port.routes:
        own = guard.at_gateway(port.sources)
        message.filter_chains.add(name=name, filters=[_http(port.routes, own, identity, settings)])
    log = telemetry.access_log(identity, settings, direction="gateway", http=False)
    for server in port.servers:
        own = guard.at_gateway(server.sources)
        if server.tls or any(route.tls for route in server.tcp):
            tcp.detect_tls(message, timeout_s=settings.detection_timeout_s)
        if server.routes:
            chains = [message.filter_chains.add(name=server.name)]
            chains[0].filters.append(_http(server.routes, own, identity, settings))
        else:
            start = len(message.filter_chains)
            for number, route in enumerate(server.tcp):
                chain = tcp.chain(route, name=f"{server.name}-{number}", log=log)
                tls.announce_tcp(chain, (share.cluster for share in route.to), says_http)
                for place, one in enumerate(access.tcp_filters(own.access)):
                    chain.filters.insert(place, one)
                message.filter_chains.append(chain)
            chains = list(message.filter_chains[start:])
        if server.tls:
            socket = tls.terminating(server.tls)
            for chain in chains:
                match = chain.filter_chain_match
                match.transport_protocol = "tls"
                if not match.server_names:
                    match.server_names.extend(server.hosts)
                chain.transport_socket.CopyFrom(socket)
    opened = (*port.sources, *(source for server in port.servers for source in server.sources))
    sources = (*opened, *guard.at_gateway(opened).sources)
    return resource(name, message, requires=_needs(port, guard), sources=sources)


def _http(table: str, guard: ir.Guard, identity: ir.Identity, settings: Settings) -> Filter:
    manager = http.gateway_manager(identity, settings, guard=guard, table=table)
    return network_filter("http_connection_manager", manager)


def _needs(port: ir.GatewayPort, guard: ir.Guard) -> Iterator[tuple[str, str]]:
    yield from ((ROUTES, name) for name in (port.routes, *(server.routes for server in port.servers)) if name)
    yield from ((CLUSTER, name) for name in listeners.asked_by(guard))
    for server in port.servers:
        yield from ((CLUSTER, share.cluster) for route in server.tcp for share in route.to)
        if server.tls:
            yield from tls.terminating_needs(server.tls)

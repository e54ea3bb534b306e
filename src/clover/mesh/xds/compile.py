"""One proxy's values → all the Envoy resources it is told, by type and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.mesh import ir
from clover.mesh.xds import clusters, gateways, inbound, listeners, routes, tls
from clover.mesh.xds.resource import TYPES, Resource, Resources
from clover.mesh.xds.settings import DEFAULTS, Settings


def resources_from(proxy: ir.Proxy, settings: Settings = DEFAULTS) -> Resources:
    """
    Compile everything that `proxy` is told.

    Each resource is remembered by the value that it was made from, so that compiling again after a change costs what
    changed. Of two resources with one name the first is taken; `snapshot.check` reports the second.
    """
    result: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
    for resource in _resources(proxy, settings):
        result[resource.type_url].setdefault(resource.name, resource)
    return result


def _resources(proxy: ir.Proxy, settings: Settings) -> Iterator[Resource]:
    identity = proxy.identity
    if _is_sidecar(proxy):
        yield from clusters.built_in(settings)
        yield listeners.virtual_outbound(identity, settings, unclaimed=proxy.unclaimed)
        yield inbound.virtual_inbound(proxy.inbound, proxy.guard, identity, settings, proxy.peers)
    yield from (cluster for port in proxy.inbound for cluster in clusters.inbound(port, settings))
    yield from _each(proxy.clusters, proxy.endpoints, settings)
    known = tls.says_http(proxy.clusters)
    for port in proxy.outbound:
        yield listeners.outbound(port, identity, settings, known & _behind(port.tcp, port.cluster))
    for gate in proxy.gateways:
        names = _behind(route for server in gate.servers for route in server.tcp)
        yield gateways.gateway(gate, proxy.guard, identity, settings, known & names)
    yield from (routes.table(table) for table in proxy.tables)


def _behind(some: Iterable[ir.TcpRoute], *more: str) -> frozenset[str]:
    """Return the clusters that TCP routes lead to."""
    return frozenset((*more, *(share.cluster for route in some for share in route.to)))


def _each(some: Iterable[ir.Cluster], groups: Iterable[ir.Endpoints], settings: Settings) -> Iterator[Resource]:
    members = {group.cluster: group.members for group in groups}
    for cluster in some:
        # A proxy that resolves names is told them with the cluster; of all other members it is told apart.
        named = clusters.resolves_names(cluster, settings)
        yield clusters.outbound(cluster, settings, named=members.get(cluster.name, ()) if named else None)
    yield from (clusters.endpoints(group, settings) for group in groups)


def _is_sidecar(proxy: ir.Proxy) -> bool:
    """Tell whether the proxy stands beside a function, whose connections are all brought to it."""
    return not proxy.gateways and proxy.identity.function != "gateway"

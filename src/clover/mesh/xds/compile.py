"""One proxy's values → all the Envoy resources it is told, by type and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clover.kit.memory import remembered_by_identity
from clover.mesh import ir
from clover.mesh.xds import clusters, gateways, inbound, listeners, routes, tls
from clover.mesh.xds.resource import TYPES, Resource, Resources
from clover.mesh.xds.settings import DEFAULTS, Settings


def resources_from(proxy: ir.Proxy, settings: Settings = DEFAULTS) -> Resources:
    """
    Compile everything that `proxy` is told.

    Each resource is remembered by the value that it was made from, so that compiling again after a change costs what
    changed; and what several proxies share is compiled once. Of two resources with one name the first is taken;
    `snapshot.check` reports the second.
    """
    result: dict[str, Mapping[str, Resource]] = _by_name(_of_its_own(proxy, settings))
    for shared in (_reachable(proxy.clusters, proxy.endpoints, settings), _tables(proxy.tables)):
        for type_url, resources in shared.items():
            result[type_url] = {**resources, **result[type_url]} if result[type_url] else resources
    return result


def _by_name(resources: Iterable[Resource]) -> dict[str, Mapping[str, Resource]]:
    result: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
    for resource in resources:
        result[resource.type_url].setdefault(resource.name, resource)
    return dict(result)


@remembered_by_identity
def _reachable(
    some: tuple[ir.Cluster, ...], groups: tuple[ir.Endpoints, ...], settings: Settings
) -> Mapping[str, Mapping[str, Resource]]:
    return _by_name(_each(some, groups, settings))


@remembered_by_identity
def _tables(tables: tuple[ir.RouteTable, ...]) -> Mapping[str, Mapping[str, Resource]]:
    return _by_name(routes.table(table) for table in tables)


@remembered_by_identity
def _says_http(some: tuple[ir.Cluster, ...]) -> frozenset[str]:
    return tls.says_http(some)


def _of_its_own(proxy: ir.Proxy, settings: Settings) -> Iterator[Resource]:
    """Yield what names the proxy, or is in front of its own function."""
    identity = proxy.identity
    if _is_sidecar(proxy):
        yield from clusters.built_in(settings)
        yield listeners.virtual_outbound(identity, settings, unclaimed=proxy.unclaimed)
        yield inbound.virtual_inbound(proxy.inbound, proxy.guard, identity, settings, proxy.peers)
    yield from (cluster for port in proxy.inbound for cluster in clusters.inbound(port, settings))
    known = _says_http(proxy.clusters)
    for port in proxy.outbound:
        yield listeners.outbound(port, identity, settings, known & _behind(port.tcp, port.cluster))
    for gate in proxy.gateways:
        names = _behind(route for server in gate.servers for route in server.tcp)
        yield gateways.gateway(gate, proxy.guard, identity, settings, known & names)


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

"""One proxy's values → all the Envoy resources it is told, by type and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clover.kit.memory import remembered_by_identity, the_same
from clover.mesh import ir
from clover.mesh.xds import clusters, gateways, inbound, listeners, routes, tls
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resource, Resources
from clover.mesh.xds.settings import DEFAULTS, Settings


def resources_from(proxy: ir.Proxy, settings: Settings = DEFAULTS) -> Resources:
    """
    Compile everything that `proxy` is told.

    Each resource is remembered by the value that it was made from, so that compiling again after a change costs what
    changed; and what several proxies share is compiled once, and is one object from change to change. Of two resources
    with one name the first is taken; `snapshot.check` reports the second.
    """
    reachable, endpoints = _reachable(proxy.clusters, proxy.endpoints, settings)
    outbound = _outbound(proxy.outbound, proxy.clusters, proxy.identity, settings)
    return {
        SECRET: {},
        CLUSTER: _joined(the_same(tuple(_own_clusters(proxy, settings))), reachable),
        ENDPOINTS: endpoints,
        LISTENER: _joined(the_same(tuple(_own_listeners(proxy, settings))), outbound),
        ROUTES: _tables(proxy.tables),
    }


_Named = Mapping[str, Resource]


def _by_name(resources: Iterable[Resource]) -> _Named:
    result: dict[str, Resource] = {}
    for resource in resources:
        result.setdefault(resource.name, resource)
    return result


@remembered_by_identity
def _joined(own: tuple[Resource, ...], shared: _Named) -> _Named:
    """Return a proxy's own resources, and with them those that it shares with others."""
    return {**shared, **_by_name(own)} if own else shared


@remembered_by_identity
def _reachable(
    some: tuple[ir.Cluster, ...], groups: tuple[ir.Endpoints, ...], settings: Settings
) -> tuple[_Named, _Named]:
    """Return the clusters of other services, and their endpoints."""
    members = {group.cluster: group.members for group in groups}

    def compiled(cluster: ir.Cluster) -> Resource:
        # A proxy that resolves names is told them with the cluster; of all other members it is told apart.
        named = clusters.resolves_names(cluster, settings)
        return clusters.outbound(cluster, settings, named=members.get(cluster.name, ()) if named else None)

    return _by_name(map(compiled, some)), _by_name(clusters.endpoints(group, settings) for group in groups)


@remembered_by_identity
def _outbound(
    ports: tuple[ir.OutboundPort, ...], some: tuple[ir.Cluster, ...], identity: ir.Identity, settings: Settings
) -> _Named:
    known = _says_http(some)
    return _by_name(
        listeners.outbound(port, identity, settings, known & _behind(port.tcp, port.cluster)) for port in ports
    )


@remembered_by_identity
def _says_http(some: tuple[ir.Cluster, ...]) -> frozenset[str]:
    return tls.says_http(some)


@remembered_by_identity
def _tables(tables: tuple[ir.RouteTable, ...]) -> _Named:
    return _by_name(map(routes.table, tables))


def _own_clusters(proxy: ir.Proxy, settings: Settings) -> Iterator[Resource]:
    if _is_sidecar(proxy):
        yield from clusters.built_in(settings)
    yield from (cluster for port in proxy.inbound for cluster in clusters.inbound(port, settings))


def _own_listeners(proxy: ir.Proxy, settings: Settings) -> Iterator[Resource]:
    if _is_sidecar(proxy):
        yield listeners.virtual_outbound(proxy.identity, settings, unclaimed=proxy.unclaimed)
        yield inbound.virtual_inbound(proxy.inbound, proxy.guard, proxy.identity, settings, proxy.peers)
    known = _says_http(proxy.clusters)
    for gate in proxy.gateways:
        names = _behind(route for server in gate.servers for route in server.tcp)
        yield gateways.gateway(gate, proxy.guard, proxy.identity, settings, known & names)


def _behind(some: Iterable[ir.TcpRoute], *more: str) -> frozenset[str]:
    """Return the clusters that TCP routes lead to."""
    return frozenset((*more, *(share.cluster for route in some for share in route.to)))


def _is_sidecar(proxy: ir.Proxy) -> bool:
    """Tell whether the proxy stands beside a function, whose connections are all brought to it."""
    return not proxy.gateways and proxy.identity.function != "gateway"

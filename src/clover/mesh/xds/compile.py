"""One proxy's values → all the Envoy resources it is told, by type and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.mesh import ir
from clover.mesh.xds import clusters, listeners, routes
from clover.mesh.xds.resource import TYPES, Resource, Resources
from clover.mesh.xds.settings import Settings

DEFAULTS = Settings()


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
        yield listeners.virtual_outbound(identity, settings)
        yield listeners.virtual_inbound(proxy.inbound, proxy.guard, identity, settings)
    yield from (cluster for port in proxy.inbound for cluster in clusters.inbound(port, settings))
    yield from _each(proxy.clusters, proxy.endpoints)
    yield from (listeners.outbound(port, identity, settings) for port in proxy.outbound)
    yield from (listeners.gateway(port, proxy.guard, identity, settings) for port in proxy.gateways)
    yield from (routes.table(table) for table in proxy.tables)


def _each(some: Iterable[ir.Cluster], groups: Iterable[ir.Endpoints]) -> Iterator[Resource]:
    yield from (clusters.outbound(cluster) for cluster in some)
    yield from (clusters.endpoints(group) for group in groups)


def _is_sidecar(proxy: ir.Proxy) -> bool:
    """Tell whether the proxy stands beside a function, whose connections are all brought to it."""
    return not proxy.gateways and proxy.identity.function != "gateway"

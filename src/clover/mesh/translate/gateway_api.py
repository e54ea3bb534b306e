"""The Gateway API's Gateways into host ports, and its routes into route tables of gateways and sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.mesh import ir
from clover.mesh.istio import attachments, hosts, resources
from clover.mesh.istio.attachments import EVERY_HOST, Route
from clover.mesh.istio.policies import LOOPBACK, Policies
from clover.mesh.istio.registry import Registry, Service, Workload
from clover.mesh.istio.resources import KubernetesGateway
from clover.mesh.translate.route_matches import cases_of
from clover.mesh.translate.route_rules import route_from
from clover.mesh.translate.routes import Place, takes_everything


def ports_from(
    workload: Workload, registry: Registry, policies: Policies
) -> tuple[tuple[ir.GatewayPort, ...], tuple[ir.RouteTable, ...]]:
    """Return the ports that Gateways of the Gateway API open, and the tables that requests are matched against."""
    ports: list[ir.GatewayPort] = []
    tables: list[ir.RouteTable] = []
    for gateway in filter(attachments.is_ours, policies.kubernetes_gateways):
        for address in attachments.addresses_of(gateway):
            for number in dict.fromkeys(listener.port for listener in gateway.spec.listeners):
                name = f"http.{number}" + (f".{address}" if address != LOOPBACK else "")
                place = Place(registry=registry, policies=policies, workload=workload, port=number)
                ports.append(
                    ir.GatewayPort(address=address, port=number, routes=name, sources=(resources.key(gateway),))
                )
                tables.append(_table(name, gateway, place))
    return tuple(ports), tuple(tables)


def routes_to(service: Service, port: int, place: Place) -> tuple[ir.Route, ...]:
    """Return what sidecars do with requests to a port of a service; empty: no route speaks of it."""
    found = attachments.routes_to(service, port, place.policies, seen_from=place.workload.namespace)
    return _in_order(found, place, None)


def _table(name: str, gateway: KubernetesGateway, place: Place) -> ir.RouteTable:
    virtual_hosts = tuple(_virtual_hosts(gateway, place))
    behind = (source for host in virtual_hosts for route in host.routes for source in route.sources)
    sources = tuple(dict.fromkeys((resources.key(gateway), *behind)))
    return ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=sources)


def _virtual_hosts(gateway: KubernetesGateway, place: Place) -> Iterator[ir.VirtualHost]:
    """
    Yield a virtual host for each Host value that is served on a port.

    A request belongs to the listener whose host says most, whether or not that one has a route for it.
    """
    for listener in (one for one in gateway.spec.listeners if one.port == place.port):
        attached = tuple(attachments.attached(gateway, listener, place.policies))
        served = (domain for route in attached for domain in attachments.domains(route, listener))
        for domain in dict.fromkeys((listener.hostname or EVERY_HOST, *served)):
            if attachments.owner_of(domain, place.port, gateway) is listener:
                routes = _in_order(attached, place, domain)
                yield ir.VirtualHost(name=f"{domain}:{place.port}", domains=(domain,), routes=routes)


def _in_order(found: Iterable[Route], place: Place, domain: str | None) -> tuple[ir.Route, ...]:
    """
    Return the cases of all routes that are for a host, in the order in which they are asked; None: hosts do not matter.

    The route whose own host says most comes first, then the match that says most, then the name of the route and the
    order in which it was written.
    """
    cases = []
    for route in found:
        host = hosts.best(route.spec.hostnames or (EVERY_HOST,), domain) if domain else EVERY_HOST
        if host is None:
            continue
        exact, length = hosts.specificity(host)
        for place_in_route, case in enumerate(cases_of(route)):
            name = (route.metadata.namespace, route.metadata.name, place_in_route)
            cases.append(((not exact, -length, route.kind, case.rank, name), case, route))
    routes: list[ir.Route] = []
    for _, case, route in sorted(cases, key=lambda entry: entry[0]):
        routes.append(route_from(case, route, place))
        if takes_everything(routes[-1].match):
            break
    return tuple(routes)

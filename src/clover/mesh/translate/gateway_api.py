"""The Gateway API's Gateways into host ports, and its routes into route tables of gateways and sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from clover.mesh import ir
from clover.mesh.istio import attachments, hosts, resources
from clover.mesh.istio.attachments import EVERY_HOST, Route
from clover.mesh.istio.kinds.kubernetes_gateway import Listener
from clover.mesh.istio.policies import LOOPBACK, Policies
from clover.mesh.istio.registry import Registry, Service, Workload
from clover.mesh.istio.resources import KubernetesGateway
from clover.mesh.translate.listener_tls import https_server, of_other_listeners, place_of
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
                place = Place(registry=registry, policies=policies, workload=workload, port=number)
                port, own = _port(gateway, address, place)
                ports.append(port)
                tables += own
    return tuple(ports), tuple(tables)


def _port(gateway: KubernetesGateway, address: str, place: Place) -> tuple[ir.GatewayPort, tuple[ir.RouteTable, ...]]:
    """Return one port: of plain HTTP with one table for all its listeners, of HTTPS with one for each."""
    sources = (resources.key(gateway),)
    here = tuple(listener for listener in gateway.spec.listeners if listener.port == place.port)
    suffix = f".{address}" if address != LOOPBACK else ""
    if here[0].protocol != "HTTPS":
        hosts_here = (host for listener in here for host in _virtual_hosts(gateway, listener, place))
        table = _table(f"http.{place.port}{suffix}", gateway, hosts_here)
        return ir.GatewayPort(address=address, port=place.port, routes=table.name, sources=sources), (table,)
    secure = replace(place, scheme="https")
    tables = tuple(
        _table(
            f"https.{place.port}.{place_of(gateway, listener)}{suffix}",
            gateway,
            (*_virtual_hosts(gateway, listener, secure), *of_other_listeners(gateway, listener)),
        )
        for listener in here
    )
    servers = (https_server(gateway, listener, table.name) for listener, table in zip(here, tables, strict=True))
    return ir.GatewayPort(address=address, port=place.port, servers=tuple(servers), sources=sources), tables


def routes_to(service: Service, port: int, place: Place) -> tuple[ir.Route, ...]:
    """Return what sidecars do with requests to a port of a service; empty: no route speaks of it."""
    found = attachments.routes_to(service, port, place.policies, seen_from=place.workload.namespace)
    return _in_order(found, place, None)


def _table(name: str, gateway: KubernetesGateway, found: Iterable[ir.VirtualHost]) -> ir.RouteTable:
    virtual_hosts = tuple(found)
    behind = (source for host in virtual_hosts for route in host.routes for source in route.sources)
    sources = tuple(dict.fromkeys((resources.key(gateway), *behind)))
    return ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=sources)


def _virtual_hosts(gateway: KubernetesGateway, listener: Listener, place: Place) -> Iterator[ir.VirtualHost]:
    """
    Yield a virtual host for each Host value that a listener serves.

    A request belongs to the listener whose host says most, whether or not that one has a route for it.
    """
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

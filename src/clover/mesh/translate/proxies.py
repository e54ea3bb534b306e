"""The registry and all resources into what each proxy is told: the mesh's whole policy as one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from clover.mesh import ir
from clover.mesh.istio.policies import Policies, policies_from
from clover.mesh.istio.registry import Registry, Service, Workload
from clover.mesh.istio.resources import Resource
from clover.mesh.translate.clusters import cluster_name, clusters_from
from clover.mesh.translate.gateways import gateway_ports
from clover.mesh.translate.protocols import protocol_of
from clover.mesh.translate.routes import Place, default_route, routes_from

_SHARED = "0.0.0.0"  # noqa: S104 - an address to match in a listener, which binds to nothing
_HTTP = (ir.Protocol.HTTP, ir.Protocol.HTTP2)


def proxies_from(registry: Registry, found: Iterable[Resource]) -> tuple[ir.Proxy, ...]:
    """
    Return what every proxy of the mesh is told.

    The resources have passed `validate.check` against the same registry. Equal arguments give equal results,
    in whatever order the resources come.
    """
    policies = policies_from(found)
    return tuple(_proxy(workload, registry, policies) for workload in registry.workloads)


def _proxy(workload: Workload, registry: Registry, policies: Policies) -> ir.Proxy:
    pairs = tuple(clusters_from(registry, policies, seen_from=workload.namespace))
    common = ir.Proxy(
        node=workload.name,
        identity=_identity(workload, registry),
        clusters=tuple(cluster for cluster, _ in pairs),
        endpoints=tuple(endpoints for _, endpoints in pairs),
    )
    if workload.gateway:
        gateways, tables = gateway_ports(workload, registry, policies)
        return replace(common, gateways=gateways, tables=tables)
    outbound, tables = _outbound(workload, registry, policies)
    return replace(common, inbound=tuple(_inbound(workload, registry)), outbound=outbound, tables=tables)


def _identity(workload: Workload, registry: Registry) -> ir.Identity:
    function = "gateway" if workload.gateway else workload.service or workload.labels.get("app", workload.name)
    return ir.Identity(
        chain=registry.chain,
        namespace=workload.namespace,
        function=function,
        version=workload.labels.get("version", ""),
        workload=workload.name,
    )


def _inbound(workload: Workload, registry: Registry) -> Iterator[ir.InboundPort]:
    for service in registry.services:
        if (service.name, service.namespace) == (workload.service, workload.namespace):
            for port in service.ports:
                yield ir.InboundPort(port=port.number, protocol=protocol_of(port), service=service.host)


def _outbound(
    workload: Workload, registry: Registry, policies: Policies
) -> tuple[tuple[ir.OutboundPort, ...], tuple[ir.RouteTable, ...]]:
    """
    Return what a function may dial.

    A port whose protocol is recognised is found by the address that was dialled, whatever the Host: functions keep
    the client's. Ports that are named `http` share a listener and are told apart by Host, as on Istio.
    """
    ports: list[ir.OutboundPort] = []
    tables: list[ir.RouteTable] = []
    shared: dict[int, list[Service]] = {}
    for service in registry.services:
        for port in service.ports:
            protocol = protocol_of(port)
            if protocol in _HTTP:
                shared.setdefault(port.number, []).append(service)
                continue
            table = f"{service.host}:{port.number}" if protocol is ir.Protocol.AUTO else ""
            ports.append(
                ir.OutboundPort(
                    service=service.host,
                    address=service.address,
                    port=port.number,
                    protocol=protocol,
                    routes=table,
                    cluster=cluster_name(service, port.number),
                )
            )
            if table:
                place = Place(registry=registry, policies=policies, workload=workload, port=port.number)
                tables.append(_table(table, (_virtual_host(service, ("*",), place),)))
    for number, services in sorted(shared.items()):
        place = Place(registry=registry, policies=policies, workload=workload, port=number)
        ports.append(
            ir.OutboundPort(service="", address=_SHARED, port=number, protocol=ir.Protocol.HTTP, routes=str(number))
        )
        tables.append(
            _table(
                str(number),
                tuple(_virtual_host(service, _domains(service, workload.namespace), place) for service in services),
            )
        )
    return tuple(ports), tuple(tables)


def _virtual_host(service: Service, domains: tuple[str, ...], place: Place) -> ir.VirtualHost:
    chosen = place.policies.virtual_service_for(service, seen_from=place.workload.namespace)
    routes = routes_from(chosen, place) if chosen else ()
    return ir.VirtualHost(
        name=f"{service.host}:{place.port}",
        domains=domains,
        # As in Istio, a VirtualService that says nothing for this proxy is as good as none.
        routes=routes or (default_route(service, place.port, place),),
    )


def _table(name: str, virtual_hosts: tuple[ir.VirtualHost, ...]) -> ir.RouteTable:
    sources = (source for host in virtual_hosts for route in host.routes for source in route.sources)
    return ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=tuple(dict.fromkeys(sources)))


def _domains(service: Service, seen_from: str) -> tuple[str, ...]:
    """Return every Host that means a service: its names as the caller's DNS completes them, and its address."""
    short = (service.name,) if service.namespace == seen_from else ()
    qualified = f"{service.name}.{service.namespace}"
    return (service.host, *short, qualified, f"{qualified}.svc", service.address)

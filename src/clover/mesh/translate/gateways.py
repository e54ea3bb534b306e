"""Gateways, and the VirtualServices bound to them, into host ports and their route tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from clover.mesh import ir
from clover.mesh.istio import hosts, resources
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.policies import LOOPBACK, Policies, bound_to, served_domains
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.resources import Gateway, VirtualService
from clover.mesh.translate import gateway_api
from clover.mesh.translate.routes import Place, merged, routes_from


@dataclass(slots=True, kw_only=True)
class _Listener:
    """One address and port, with everything that any Gateway serves there."""

    bind: str
    port: int
    gateways: list[Gateway] = field(default_factory=list)
    servers: list[tuple[Gateway, Server]] = field(default_factory=list)


def gateway_ports(
    workload: Workload, registry: Registry, policies: Policies
) -> tuple[tuple[ir.GatewayPort, ...], tuple[ir.RouteTable, ...]]:
    """Return the ports that a gateway opens and the tables that its requests are matched against."""
    ports: list[ir.GatewayPort] = []
    tables: list[ir.RouteTable] = []
    for listener in _listeners(workload, policies):
        # Istio's names; two addresses with one port have two tables.
        name = f"http.{listener.port}" + (f".{listener.bind}" if listener.bind else "")
        sources = tuple(dict.fromkeys(resources.key(gateway) for gateway in listener.gateways))
        virtual_hosts = _virtual_hosts(listener, workload, registry, policies)
        behind = (source for host in virtual_hosts for route in host.routes for source in route.sources)
        ports.append(
            ir.GatewayPort(address=listener.bind or LOOPBACK, port=listener.port, routes=name, sources=sources)
        )
        tables.append(
            ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=tuple(dict.fromkeys((*sources, *behind))))
        )
    more_ports, more_tables = gateway_api.ports_from(workload, registry, policies)
    return (*ports, *more_ports), (*tables, *more_tables)


def _listeners(workload: Workload, policies: Policies) -> tuple[_Listener, ...]:
    found: dict[tuple[str, int], _Listener] = {}
    for gateway in policies.gateways_of(workload):
        for server in gateway.spec.servers:
            # Saying the default address is the same as not saying it.
            address = server.bind or LOOPBACK
            listener = found.setdefault(
                (address, server.port.number), _Listener(bind=server.bind, port=server.port.number)
            )
            listener.gateways.append(gateway)
            listener.servers.append((gateway, server))
    return tuple(found.values())


def _virtual_hosts(
    listener: _Listener, workload: Workload, registry: Registry, policies: Policies
) -> tuple[ir.VirtualHost, ...]:
    """
    Return a virtual host for each Host value that is served here; the most specific host decides.

    Rules of several VirtualServices for one host are put together, in the order of the VirtualServices' names.
    """
    chosen: dict[str, tuple[str, list[tuple[VirtualService, Gateway]]]] = {}
    for gateway, server in listener.servers:
        name = f"{gateway.metadata.namespace}/{gateway.metadata.name}"
        for service in policies.virtual_services:
            if name not in bound_to(service) or not service.spec.http:
                continue
            for host, domain in served_domains(service, gateway, server):
                if domain not in chosen or hosts.specificity(host) > hosts.specificity(chosen[domain][0]):
                    chosen[domain] = host, []
                if host == chosen[domain][0] and (service, gateway) not in chosen[domain][1]:
                    chosen[domain][1].append((service, gateway))
    return tuple(
        ir.VirtualHost(
            name=f"{domain}:{listener.port}",
            domains=(domain,),
            routes=merged(
                routes_from(
                    service,
                    Place(
                        registry=registry,
                        policies=policies,
                        workload=workload,
                        port=listener.port,
                        gateways=frozenset({f"{gateway.metadata.namespace}/{gateway.metadata.name}"}),
                    ),
                )
                for service, gateway in sorted(found, key=lambda pair: resources.key(pair[0]))
            ),
        )
        for domain, (_, found) in chosen.items()
    )

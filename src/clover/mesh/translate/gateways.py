"""Gateways, and the VirtualServices bound to them, into host ports and their route tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter

from clover.mesh import ir
from clover.mesh.istio import hosts, resources
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.policies import LOOPBACK, Policies, served_domains
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.resources import Gateway, VirtualService
from clover.mesh.translate import gateway_api
from clover.mesh.translate.gateway_servers import http_server, name_of, server_name, tcp_server, told_apart
from clover.mesh.translate.routes import Place, merged, routes_from

_Servers = tuple[tuple[Gateway, Server], ...]


@dataclass(slots=True, kw_only=True)
class _Listener:
    """One address and port, with everything that any Gateway serves there."""

    bind: str
    port: int
    servers: list[tuple[Gateway, Server]] = field(default_factory=list)

    def place(self, workload: Workload, registry: Registry, policies: Policies, *gateways: Gateway) -> Place:
        """Return where the routes are for, as seen from some of the Gateways."""
        return Place(
            registry=registry,
            policies=policies,
            workload=workload,
            port=self.port,
            gateways=frozenset(map(name_of, gateways)),
        )


def gateway_ports(
    workload: Workload, registry: Registry, policies: Policies
) -> tuple[tuple[ir.GatewayPort, ...], tuple[ir.RouteTable, ...]]:
    """Return the ports that a gateway opens and the tables that its requests are matched against."""
    ports: list[ir.GatewayPort] = []
    tables: list[ir.RouteTable] = []
    for listener in _listeners(workload, policies):
        sources = tuple(dict.fromkeys(resources.key(gateway) for gateway, _ in listener.servers))
        own: list[ir.RouteTable] = []
        if plain := tuple(pair for pair in listener.servers if pair[1].plain_http):
            # Istio's names; two addresses with one port have two tables.
            name = f"http.{listener.port}" + (f".{listener.bind}" if listener.bind else "")
            own.append(_table(name, plain, sources, listener.place(workload, registry, policies)))
        servers: list[ir.GatewayServer] = []
        for gateway, server in listener.servers:
            if server.plain_http:
                continue
            place = listener.place(workload, registry, policies, gateway)
            if server.terminates and server.protocol == "HTTPS":
                name = f"https.{server_name(gateway, server, listener.port)}"
                own_table = _table(name, ((gateway, server),), (resources.key(gateway),), place)
                tables.append(own_table)
                servers.append(http_server(gateway, server, own_table))
            elif found := tcp_server(gateway, server, place):
                servers.append(found)
        if own or servers:
            tables += own
            ports.append(
                ir.GatewayPort(
                    address=listener.bind or LOOPBACK,
                    port=listener.port,
                    routes=own[0].name if own else "",
                    servers=told_apart(servers),
                    sources=sources,
                )
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
            listener.servers.append((gateway, server))
    return tuple(found.values())


def _table(name: str, servers: _Servers, sources: tuple[str, ...], place: Place) -> ir.RouteTable:
    virtual_hosts = _virtual_hosts(servers, place)
    behind = (source for host in virtual_hosts for route in host.routes for source in route.sources)
    return ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=tuple(dict.fromkeys((*sources, *behind))))


def _virtual_hosts(servers: _Servers, place: Place) -> tuple[ir.VirtualHost, ...]:
    """
    Return a virtual host for each Host value that is served here; the most specific host decides.

    Rules of several VirtualServices for one host are put together, in the order of the VirtualServices' names.
    """
    chosen: dict[str, tuple[str, dict[tuple[str, str], VirtualService]]] = {}
    redirected = {
        host.rpartition("/")[2].lower(): None
        for _, server in servers
        if server.tls and server.tls.https_redirect and server.plain_http
        for host in server.hosts
    }
    for gateway, server in servers:
        name = name_of(gateway)
        for service in place.policies.bound.get(name, ()):
            if not service.spec.http:
                continue
            for host, domain in served_domains(service, gateway, server):
                if domain not in chosen or hosts.specificity(host) > hosts.specificity(chosen[domain][0]):
                    chosen[domain] = host, {}
                if host == chosen[domain][0]:
                    chosen[domain][1].setdefault((resources.key(service), name), service)
    bound = {pair: service for _, pairs in chosen.values() for pair, service in pairs.items()}
    routes = {
        (key, name): routes_from(service, replace(place, gateways=frozenset({name})))
        for (key, name), service in bound.items()
    }
    found = {
        # By the names of the VirtualServices; of one, the Gateways stay in their order.
        domain: merged(routes[pair] for pair in sorted(pairs, key=itemgetter(0)))
        for domain, (_, pairs) in chosen.items()
    }
    return tuple(
        ir.VirtualHost(
            name=f"{domain}:{place.port}",
            domains=(domain,),
            routes=found.get(domain, ()),
            only_tls=any(hosts.covers(host, domain) for host in redirected),
        )
        for domain in {**found, **redirected}
    )

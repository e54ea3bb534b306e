"""
What functions may dial: listeners, and the route tables behind them, made once for all proxies that are told the same.

A port with an address of its own is found by that address, whatever the Host: functions keep the client's. What has
none, or declares HTTP, shares a listener with all others of its number, and is told apart by Host, by the server name
that TLS says, or by the network that was dialled, as on Istio. What nobody claims there goes where the rest goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from clover.kit.memory import the_same
from clover.mesh import ir
from clover.mesh.istio import resources
from clover.mesh.istio.policies import Policies, labels_of, policy_for
from clover.mesh.istio.registry import Registry, Resolution, Service, Workload
from clover.mesh.istio.resources import VirtualService
from clover.mesh.istio.sidecars import Dialled, View
from clover.mesh.translate import gateway_api
from clover.mesh.translate.clusters import cluster_name, lifetime_of
from clover.mesh.translate.protocols import is_tls, protocol_of
from clover.mesh.translate.routes import Place, cluster_of, default_route, routes_from, rule_for, rules_of
from clover.mesh.translate.tcp_routes import tcp_routes_from, tls_routes_from

_SHARED = "0.0.0.0"  # noqa: S104 - an address to match in a listener, which binds to nothing
_HTTP = (ir.Protocol.HTTP, ir.Protocol.HTTP2)
_ALLOW_ANY, _BLOCK_ALL = "allow_any", "block_all"
_REFUSED = 502


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the proxies of one view are told about what their functions may dial."""

    ports: tuple[ir.OutboundPort, ...]
    tables: tuple[ir.RouteTable, ...]
    unclaimed: str
    """Cluster for everything else."""

    def clusters(self) -> Iterator[str]:
        """Yield the clusters that traffic may be sent to."""
        yield self.unclaimed
        for port in self.ports:
            yield port.cluster
            yield from (share.cluster for route in port.tcp for share in route.to)
        for table in self.tables:
            for route in (route for host in table.virtual_hosts for route in host.routes):
                if isinstance(route.action, ir.Forward):
                    yield from (share.cluster for share in route.action.to)
                yield from (mirror.cluster for mirror in route.mirrors)


@dataclass(slots=True, kw_only=True)
class _Shared:
    """A listener that takes connections for many addresses."""

    http: list[Dialled] = field(default_factory=list)
    tcp: list[ir.TcpRoute] = field(default_factory=list)
    rest: str = ""
    """Cluster of the one service that takes whatever has its number; '': none does."""
    lifetime: ir.Lifetime = ir.AS_LONG_AS_USED
    """Of connections to `rest`."""


class Outbound:
    """Makes what functions may dial."""

    def __init__(self, registry: Registry, policies: Policies) -> None:
        self._registry = registry
        self._policies = policies
        self._asked = tuple(sorted(_labels_asked_for(policies)))
        self._told: dict[tuple[object, ...], Told] = {}
        self._routes: dict[tuple[object, ...], tuple[ir.Route, ...]] = {}
        self._own_rules = {
            *(route.metadata.namespace for route in (*policies.http_routes, *policies.grpc_routes)),
            *(namespace for service in policies.virtual_services for namespace in _namespaces_named(service, policies)),
        }
        """Namespaces from which the mesh may look otherwise than from most."""

    def told(self, workload: Workload, view: View) -> Told:
        """Return what the proxy of a workload is told; only labels that a rule asks for tell two of a view apart."""
        labels = labels_of(workload)
        same = (view.namespace, view.sources, *(labels.get(name) for name in self._asked))
        if same not in self._told:
            self._told[same] = self._make(workload, view)
        return self._told[same]

    def _make(self, workload: Workload, view: View) -> Told:
        ports: dict[tuple[str, int], ir.OutboundPort] = {}
        tables: list[ir.RouteTable] = []
        shared: dict[tuple[str, int], _Shared] = {}
        for one in view.dialled:
            protocol = protocol_of(one.port)
            addresses = (one.bind,) if one.bind and protocol not in _HTTP else one.service.addresses
            if protocol in _HTTP or not addresses or one.service.networks:
                self._share(one, shared.setdefault((one.bind or _SHARED, one.number), _Shared()), workload)
            if protocol in _HTTP:
                continue
            for address in addresses:
                # Of two services at one address the first is told; the checks have said so.
                ports.setdefault((address, one.number), self._own_port(one, address, workload))
            if protocol is ir.Protocol.AUTO and addresses:
                everything = self._virtual_host(one, ("*",), workload)
                tables.append(_table(_table_name(one), (everything,)))
        unclaimed = self._unclaimed(view, workload)
        for (bind, number), listener in sorted(shared.items()):
            port = _shared_port(bind, number, listener, unclaimed)
            ports[bind, number] = port
            if port.routes:
                hosts = self._virtual_hosts(listener.http, workload)
                tables.append(_table(port.routes, (*hosts, _catch_all(unclaimed))))
        return Told(ports=the_same(tuple(ports.values())), tables=the_same(tuple(tables)), unclaimed=unclaimed)

    def _unclaimed(self, view: View, workload: Workload) -> str:
        if view.proxy is not None:
            place = self._place(workload, view.proxy.port.number if view.proxy.port else 0)
            return cluster_of(view.proxy, place, view.proxy_namespace)
        return ir.BLACK_HOLE if view.registry_only else ir.PASSTHROUGH

    def _share(self, one: Dialled, listener: _Shared, workload: Workload) -> None:
        """Add what can be told apart without an address of its own."""
        service, port, protocol = one.service, one.port, protocol_of(one.port)
        cluster, lifetime = cluster_name(service, port.number), self._lifetime(one, workload)
        if protocol is not ir.Protocol.TCP and (protocol in _HTTP or not service.addresses):
            listener.http.append(one)
        if protocol in _HTTP:
            return
        if service.networks:
            listener.tcp += (
                ir.TcpRoute(
                    name=service.name,
                    to=(ir.WeightedCluster(cluster=cluster),),
                    destinations=service.networks,
                    tls=tls,
                    lifetime=lifetime,
                    sources=_source(service),
                )
                for tls in (False, True)
            )
        elif is_tls(port):
            ruled = self._connections_to(one, "", workload)
            listener.tcp += ruled or (
                ir.TcpRoute(
                    name=service.name,
                    to=(ir.WeightedCluster(cluster=cluster),),
                    server_names=(service.host,),
                    tls=True,
                    asked=service.resolution is Resolution.DYNAMIC_DNS,
                    lifetime=lifetime,
                    sources=_source(service),
                ),
            )
        elif not service.addresses and not listener.rest:
            listener.rest, listener.lifetime = cluster, lifetime

    def _virtual_hosts(self, some: Iterable[Dialled], workload: Workload) -> Iterator[ir.VirtualHost]:
        claimed: set[str] = set()
        for one in some:
            domains = tuple(name for name in _domains(one.service, workload.namespace) if name not in claimed)
            claimed.update(domains)
            if domains:
                yield self._virtual_host(one, domains, workload)

    def _virtual_host(self, one: Dialled, domains: tuple[str, ...], workload: Workload) -> ir.VirtualHost:
        return ir.VirtualHost(
            name=f"{one.service.host}:{one.number}", domains=domains, routes=self._routes_to(one, workload)
        )

    def _routes_to(self, one: Dialled, workload: Workload) -> tuple[ir.Route, ...]:
        service, port = one.service, one.port.number
        place = self._place(workload, port)
        chosen = self._policies.virtual_service_for(service, seen_from=workload.namespace)
        same = (service.host, port, resources.key(chosen) if chosen else "", *self._standpoint(service, chosen, place))
        if same not in self._routes:
            attached = gateway_api.routes_to(service, port, place)
            routes = attached or (routes_from(chosen, place) if chosen else ())
            # As in Istio, a VirtualService that says nothing for this proxy is as good as none.
            self._routes[same] = the_same(routes or (default_route(service, port, place),))
        return self._routes[same]

    def _standpoint(self, service: Service, chosen: VirtualService | None, place: Place) -> Iterator[object]:
        """Yield all of a place that the routes to a service depend on: most proxies have the same ones."""
        namespace, labels = place.workload.namespace, labels_of(place.workload)
        yield namespace if namespace in self._own_rules else ""
        yield from (labels.get(name) for name in self._asked)
        if chosen is None:
            rule = rule_for(service, place)
            yield resources.key(rule) if rule else ""
        else:
            for said, inner in self._policies.rules_of(chosen):
                yield rules_of(said, place, inner.metadata.namespace)

    def _own_port(self, one: Dialled, address: str, workload: Workload) -> ir.OutboundPort:
        """Return the port of a service that is found by the service's address."""
        protocol = protocol_of(one.port)
        tcp = self._connections_to(one, address, workload)
        # As in Istio, a port with rules for TLS takes only the names that they speak of.
        left = not tcp or not (tcp[-1].tls or not tcp[-1].destinations)
        return ir.OutboundPort(
            service=one.service.host,
            address=address,
            port=one.number,
            protocol=protocol,
            routes=_table_name(one) if protocol is ir.Protocol.AUTO else "",
            cluster=cluster_name(one.service, one.port.number) if left else "",
            tcp=tcp,
            lifetime=self._lifetime(one, workload),
        )

    def _lifetime(self, one: Dialled, workload: Workload) -> ir.Lifetime:
        """Return how long connections to a port of a service are kept."""
        number = one.port.number
        return lifetime_of(policy_for(rule_for(one.service, self._place(workload, number)), number))

    def _connections_to(self, one: Dialled, address: str, workload: Workload) -> tuple[ir.TcpRoute, ...]:
        """Return the routes of what is not HTTP: a port for TLS has rules for TLS, every other for TCP."""
        chosen = self._policies.virtual_service_for(one.service, seen_from=workload.namespace)
        if chosen is None:
            return ()
        routes_of = tls_routes_from if is_tls(one.port) else tcp_routes_from
        return routes_of(chosen, self._place(workload, one.port.number), address=address)

    def _place(self, workload: Workload, port: int) -> Place:
        return Place(registry=self._registry, policies=self._policies, workload=workload, port=port)


def _labels_asked_for(policies: Policies) -> set[str]:
    """Return the labels by which VirtualServices and DestinationRules tell proxies apart."""
    asked = {name for service in policies.virtual_services for name in _asked_by(service, policies)}
    return asked | {*policies.clients_told_apart_by}


def _namespaces_named(service: VirtualService, policies: Policies) -> Iterator[str]:
    """Yield the namespaces by which the rules for HTTP of a VirtualService tell proxies apart."""
    for rule, _ in policies.rules_of(service):
        yield from (match.source_namespace for match in rule.match if match.source_namespace)


def _asked_by(service: VirtualService, policies: Policies) -> Iterator[str]:
    for rule, _ in policies.rules_of(service):
        yield from (name for match in rule.match for name in match.source_labels)
    tests = (
        *(match for route in service.spec.tcp for match in route.match),
        *(match for route in service.spec.tls for match in route.match),
    )
    yield from (name for test in tests for name in test.source_labels)


def _shared_port(bind: str, number: int, listener: _Shared, unclaimed: str) -> ir.OutboundPort:
    """Return the port of all services that are told apart by what is said, not by what is dialled."""
    rest = listener.rest or ("" if listener.http and unclaimed == ir.PASSTHROUGH else unclaimed)
    return ir.OutboundPort(
        service="",
        address=bind,
        port=number,
        protocol=ir.Protocol.HTTP if listener.http else ir.Protocol.TCP,
        routes=(str(number) if bind == _SHARED else f"{bind}_{number}") if listener.http else "",
        cluster=rest,
        lifetime=listener.lifetime,
        tcp=tuple(_told_apart(listener.tcp)),
    )


def _told_apart(routes: Iterable[ir.TcpRoute]) -> Iterator[ir.TcpRoute]:
    """Yield the routes with what is left to each: a name, or a network, is the first one's that claims it."""
    seen: set[tuple[bool, str, str]] = set()
    for route in routes:
        networks, names = route.destinations or ("",), route.server_names or ("",)
        if route.server_names:
            names = tuple(name for name in names if not any((route.tls, one, name) in seen for one in networks))
        else:
            networks = tuple(one for one in networks if (route.tls, one, "") not in seen)
        if names and networks:
            seen.update((route.tls, one, name) for one in networks for name in names)
            yield replace(route, destinations=tuple(filter(None, networks)), server_names=tuple(filter(None, names)))


def _catch_all(unclaimed: str) -> ir.VirtualHost:
    """Return where a shared port sends a Host that is no service's; the answer of Istio's own sidecars."""
    blocked = unclaimed == ir.BLACK_HOLE
    name = _BLOCK_ALL if blocked else _ALLOW_ANY
    forward = ir.Forward(to=(ir.WeightedCluster(cluster=unclaimed),))
    return ir.VirtualHost(
        name=name,
        domains=("*",),
        routes=(
            ir.Route(
                name=name, match=ir.RequestMatch(), action=ir.DirectResponse(code=_REFUSED) if blocked else forward
            ),
        ),
    )


def _table(name: str, virtual_hosts: tuple[ir.VirtualHost, ...]) -> ir.RouteTable:
    sources = (source for host in virtual_hosts for route in host.routes for source in route.sources)
    return ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=tuple(dict.fromkeys(sources)))


def _table_name(one: Dialled) -> str:
    return f"{one.service.host}:{one.number}"


def _domains(service: Service, seen_from: str) -> tuple[str, ...]:
    """Return every Host that means a service: its names as the caller's DNS completes them, and its addresses."""
    if service.hostname:
        return (service.host, *service.addresses)
    short = (service.name,) if service.namespace == seen_from else ()
    qualified = f"{service.name}.{service.namespace}"
    return (service.host, *short, qualified, f"{qualified}.svc", *service.addresses)


def _source(service: Service) -> tuple[str, ...]:
    return (service.source,) if service.source else ()

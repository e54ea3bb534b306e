"""The registry and all resources into what each proxy is told: the mesh's whole policy as one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from clover.mesh import ir
from clover.mesh.istio.policies import Policies, policies_from
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.istio.resources import Resource, VirtualService
from clover.mesh.translate import gateway_api
from clover.mesh.translate.access import access_of
from clover.mesh.translate.authentication import authentication_of
from clover.mesh.translate.clusters import cluster_name, clusters_from
from clover.mesh.translate.gateways import gateway_ports
from clover.mesh.translate.protocols import is_tls, protocol_of
from clover.mesh.translate.routes import Place, default_route, routes_from
from clover.mesh.translate.tcp_routes import tcp_routes_from, tls_routes_from

_SHARED = "0.0.0.0"  # noqa: S104 - an address to match in a listener, which binds to nothing
_ALLOW_ANY = ir.VirtualHost(
    name="allow_any",
    domains=("*",),
    routes=(
        ir.Route(
            name="allow_any",
            match=ir.RequestMatch(),
            action=ir.Forward(to=(ir.WeightedCluster(cluster=ir.PASSTHROUGH),)),
        ),
    ),
)
"""Where a shared port sends a Host that is no service's: to the address that was dialled, as Istio by default."""
_HTTP = (ir.Protocol.HTTP, ir.Protocol.HTTP2)


def proxies_from(registry: Registry, found: Iterable[Resource]) -> tuple[ir.Proxy, ...]:
    """
    Return what every proxy of the mesh is told.

    The resources have passed `validate.check` against the same registry. Equal arguments give equal results,
    in whatever order the resources come.
    """
    return tuple(_Translation(registry, policies_from(found)).proxies())


class _Translation:
    """One run of the compiler: proxies that see the same get the same objects, made once."""

    def __init__(self, registry: Registry, policies: Policies) -> None:
        self._registry = registry
        self._policies = policies
        self._clusters: dict[tuple[str, bool], tuple[tuple[ir.Cluster, ir.Endpoints], ...]] = {}
        self._routes: dict[tuple[str | int | None, ...], tuple[ir.Route, ...]] = {}

    def proxies(self) -> Iterator[ir.Proxy]:
        """Yield what every proxy is told."""
        return map(self._proxy, self._registry.workloads)

    def _proxy(self, workload: Workload) -> ir.Proxy:
        pairs = self._clusters_seen_from(workload.namespace, gateway=workload.gateway)
        common = ir.Proxy(
            node=workload.name,
            identity=_identity(workload, self._registry),
            principal=self._registry.principal(workload),
            guard=ir.Guard(
                access=access_of(workload, self._registry, self._policies),
                authentication=authentication_of(workload, self._registry, self._policies),
            ),
            clusters=tuple(cluster for cluster, _ in pairs),
            endpoints=tuple(endpoints for _, endpoints in pairs),
        )
        if workload.gateway:
            gateways, tables = gateway_ports(workload, self._registry, self._policies)
            return replace(common, gateways=gateways, tables=tables)
        outbound, tables = self._outbound(workload)
        return replace(common, inbound=tuple(_inbound(workload, self._registry)), outbound=outbound, tables=tables)

    def _clusters_seen_from(self, namespace: str, *, gateway: bool) -> tuple[tuple[ir.Cluster, ir.Endpoints], ...]:
        if (namespace, gateway) not in self._clusters:
            found = clusters_from(self._registry, self._policies, seen_from=namespace, gateway=gateway)
            self._clusters[namespace, gateway] = tuple(found)
        return self._clusters[namespace, gateway]

    def _outbound(self, workload: Workload) -> tuple[tuple[ir.OutboundPort, ...], tuple[ir.RouteTable, ...]]:
        """
        Return what a function may dial.

        A port whose protocol is recognised is found by the address that was dialled, whatever the Host: functions
        keep the client's. Ports that are named `http` share a listener and are told apart by Host, as on Istio.
        """
        ports: list[ir.OutboundPort] = []
        tables: list[ir.RouteTable] = []
        shared: dict[int, list[Service]] = {}
        for service in self._registry.services:
            for port in service.ports:
                if protocol_of(port) in _HTTP:
                    shared.setdefault(port.number, []).append(service)
                    continue
                ports.append(self._own_port(service, port, workload))
                if ports[-1].routes:
                    everything = self._virtual_host(service, ("*",), workload, port.number)
                    tables.append(_table(ports[-1].routes, (everything,)))
        for number, services in sorted(shared.items()):
            ports.append(_shared_port(number))
            known = (
                self._virtual_host(service, _domains(service, workload.namespace), workload, number)
                for service in services
            )
            tables.append(_table(ports[-1].routes, (*known, _ALLOW_ANY)))
        return tuple(ports), tuple(tables)

    def _virtual_host(
        self, service: Service, domains: tuple[str, ...], workload: Workload, port: int
    ) -> ir.VirtualHost:
        return ir.VirtualHost(
            name=f"{service.host}:{port}", domains=domains, routes=self._routes_to(service, workload, port)
        )

    def _routes_to(self, service: Service, workload: Workload, port: int) -> tuple[ir.Route, ...]:
        chosen = self._policies.virtual_service_for(service, seen_from=workload.namespace)
        asked = self._labels_asked_for(chosen) if chosen else ()
        same = (service.host, port, workload.namespace, *(workload.labels.get(name) for name in asked))
        if same not in self._routes:
            place = Place(registry=self._registry, policies=self._policies, workload=workload, port=port)
            attached = gateway_api.routes_to(service, port, place)
            routes = attached or (routes_from(chosen, place) if chosen else ())
            # As in Istio, a VirtualService that says nothing for this proxy is as good as none.
            self._routes[same] = routes or (default_route(service, port, place),)
        return self._routes[same]

    def _labels_asked_for(self, service: VirtualService) -> tuple[str, ...]:
        """Return the labels by which a VirtualService tells proxies apart."""
        matches = (match for rule, _ in self._policies.rules_of(service) for match in rule.match)
        return tuple(sorted({name for match in matches for name in match.source_labels}))

    def _own_port(self, service: Service, port: ServicePort, workload: Workload) -> ir.OutboundPort:
        """Return the port of a service that is found by the service's address."""
        protocol = protocol_of(port)
        tcp = self._connections_to(service, port, workload)
        # As in Istio, a port with rules for TLS takes only the names that they speak of.
        left = not tcp or not (tcp[-1].tls or not tcp[-1].destinations)
        return ir.OutboundPort(
            service=service.host,
            address=service.address,
            port=port.number,
            protocol=protocol,
            routes=f"{service.host}:{port.number}" if protocol is ir.Protocol.AUTO else "",
            cluster=cluster_name(service, port.number) if left else "",
            tcp=tcp,
        )

    def _connections_to(self, service: Service, port: ServicePort, workload: Workload) -> tuple[ir.TcpRoute, ...]:
        """Return the routes of what is not HTTP: a port for TLS has rules for TLS, every other for TCP."""
        chosen = self._policies.virtual_service_for(service, seen_from=workload.namespace)
        if chosen is None:
            return ()
        place = Place(registry=self._registry, policies=self._policies, workload=workload, port=port.number)
        routes_of = tls_routes_from if is_tls(port) else tcp_routes_from
        return routes_of(chosen, place, address=service.address)


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
    """Yield each port that the workload takes traffic on once, though several services may lead there."""
    seen = set()
    for service in registry.services:
        if not workload.serves(service):
            continue
        for port in service.ports:
            if port.number not in seen:
                seen.add(port.number)
                yield ir.InboundPort(port=port.number, protocol=protocol_of(port), service=service.host)


def _shared_port(number: int) -> ir.OutboundPort:
    """Return the port of all services that name it `http`."""
    return ir.OutboundPort(service="", address=_SHARED, port=number, protocol=ir.Protocol.HTTP, routes=str(number))


def _table(name: str, virtual_hosts: tuple[ir.VirtualHost, ...]) -> ir.RouteTable:
    sources = (source for host in virtual_hosts for route in host.routes for source in route.sources)
    return ir.RouteTable(name=name, virtual_hosts=virtual_hosts, sources=tuple(dict.fromkeys(sources)))


def _domains(service: Service, seen_from: str) -> tuple[str, ...]:
    """Return every Host that means a service: its names as the caller's DNS completes them, and its address."""
    short = (service.name,) if service.namespace == seen_from else ()
    qualified = f"{service.name}.{service.namespace}"
    return (service.host, *short, qualified, f"{qualified}.svc", service.address)

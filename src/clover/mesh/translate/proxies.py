"""The registry and all resources into what each proxy is told: the mesh's whole policy as one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from clover.kit.memory import the_same
from clover.mesh import ir
from clover.mesh.istio import resources
from clover.mesh.istio.outside import service_port, with_entries
from clover.mesh.istio.policies import Policies, policies_from
from clover.mesh.istio.registry import Registry, Service, Workload
from clover.mesh.istio.resources import Resource
from clover.mesh.istio.sidecars import View, Views
from clover.mesh.translate.access import AccessTable
from clover.mesh.translate.authentication import authentication_of
from clover.mesh.translate.clusters import clusters_from
from clover.mesh.translate.gateways import gateway_ports
from clover.mesh.translate.outbound import Outbound
from clover.mesh.translate.peers import with_peers
from clover.mesh.translate.protocols import is_grpc_web, protocol_of
from clover.mesh.translate.reporting import reports_of

_OWN_ADDRESS = "0.0.0.0"  # noqa: S104 - a Sidecar's word for the workload's own address


_Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Clusters:
    """What a proxy may send to; all that know the same have one of these, with the same tuples after a change."""

    named: Mapping[str, tuple[ir.Cluster, ir.Endpoints]]
    clusters: tuple[ir.Cluster, ...]
    endpoints: tuple[ir.Endpoints, ...]


def proxies_from(registry: Registry, found: Iterable[Resource]) -> tuple[ir.Proxy, ...]:
    """
    Return what every proxy of the mesh is told.

    The resources have passed `validate.check` against the same registry. Equal arguments give equal results,
    in whatever order the resources come.
    """
    policies = policies_from(found)
    return tuple(_Translation(with_entries(registry, policies), policies).proxies())


class _Translation:
    """One run of the compiler: proxies that see the same get the same objects, made once."""

    def __init__(self, registry: Registry, policies: Policies) -> None:
        self._registry = registry
        self._policies = policies
        self._access = AccessTable(registry, policies)
        self._views = Views(registry, policies)
        self._outbound = Outbound(registry, policies)
        self._clusters: dict[tuple[object, ...], _Clusters] = {}
        self._of_service: dict[tuple[object, ...], Mapping[str, tuple[ir.Cluster, ir.Endpoints]]] = {}
        self._served: dict[str, list[Service]] = {}
        for service in registry.services:
            for workload in registry.members(service):
                self._served.setdefault(workload.name, []).append(service)

    def proxies(self) -> Iterator[ir.Proxy]:
        """Yield what every proxy is told."""
        return map(self._proxy, self._registry.workloads)

    def _proxy(self, workload: Workload) -> ir.Proxy:
        view = self._views.of(workload)
        common = ir.Proxy(
            node=workload.name,
            identity=the_same(
                replace(
                    _identity(workload, self._registry), reports=reports_of(workload, self._registry, self._policies)
                )
            ),
            principal=self._registry.principal(workload),
            guard=ir.Guard(
                access=self._access.of(workload),
                authentication=authentication_of(workload, self._registry, self._policies),
            ),
        )
        if workload.gateway:
            gateways, tables = gateway_ports(workload, self._registry, self._policies)
            clusters = self._all_clusters(workload.namespace, self._policies.client(workload), gateway=True)
            return _with_clusters(replace(common, gateways=gateways, tables=the_same(tables)), clusters)
        inbound, peers = with_peers(self._inbound(workload, view), workload, self._registry, self._policies)
        told = self._outbound.told(workload, view)
        named = chain(told.clusters(), _asked_by(common.guard))
        clusters = self._clusters_for(view, named, self._policies.client(workload))
        return _with_clusters(
            replace(
                common,
                inbound=inbound,
                peers=peers,
                outbound=told.ports,
                tables=told.tables,
                unclaimed=told.unclaimed,
            ),
            clusters,
        )

    def _all_clusters(self, namespace: str, labels: _Labels, *, gateway: bool) -> _Clusters:
        """Return the clusters of all services that proxies in a namespace may know."""
        same = (namespace, labels, gateway)
        if same not in self._clusters:
            services = (service for service in self._registry.services if service.visible(namespace))
            self._clusters[same] = self._clusters_of(services, namespace, labels, gateway=gateway)
        return self._clusters[same]

    def _clusters_for(self, view: View, named: Iterable[str], labels: _Labels) -> _Clusters:
        """Return the clusters of what a view shows, and, as on Istio, those that rules send to beyond it."""
        if not view.narrow:
            return self._all_clusters(view.namespace, labels, gateway=False)
        same = (view.namespace, labels, view.sources)
        if same not in self._clusters:
            self._clusters[same] = self._clusters_of(view.services, view.namespace, labels, gateway=False)
        shown = self._clusters[same].named
        beyond = tuple(sorted({name for name in named if name not in shown}))
        if (*same, beyond) not in self._clusters:
            hosts = dict.fromkeys(name.rpartition("|")[2] for name in beyond)
            services = (found for host in hosts if (found := self._registry.service(host)))
            visible = (service for service in services if service.visible(view.namespace))
            more = self._clusters_of(visible, view.namespace, labels, gateway=False).named
            wanted = {name: more[name] for name in beyond if name in more}
            self._clusters[*same, beyond] = _clusters({**shown, **wanted})
        return self._clusters[*same, beyond]

    def _clusters_of(self, services: Iterable[Service], namespace: str, labels: _Labels, *, gateway: bool) -> _Clusters:
        """Return the clusters of services; of each, all proxies see the same that obey the same DestinationRule."""
        asked = dict(labels)
        found: dict[str, tuple[ir.Cluster, ir.Endpoints]] = {}
        for service in services:
            rule = self._policies.destination_rule_for(service, seen_from=namespace, labels=asked)
            same = (service.host, service.source, service.ports, resources.key(rule) if rule else "", gateway)
            if same not in self._of_service:
                pairs = clusters_from(service, rule, self._registry, self._policies, gateway=gateway)
                self._of_service[same] = {cluster.name: (cluster, members) for cluster, members in pairs}
            found.update(self._of_service[same])
        return _clusters(found)

    def _inbound(self, workload: Workload, view: View) -> Iterator[ir.InboundPort]:
        """Yield each port that the workload takes traffic on once, though several services may lead there."""
        services = self._served.get(workload.name, ())
        if view.ingress:
            host = services[0].host if services else workload.name
            for listener in view.ingress:
                port = service_port(listener.port)
                endpoint = listener.default_endpoint.replace(f"{_OWN_ADDRESS}:", f"{workload.address}:")
                yield ir.InboundPort(
                    port=port.number,
                    protocol=protocol_of(port),
                    grpc_web=is_grpc_web(port),
                    service=host,
                    endpoint=endpoint,
                )
            return
        seen = set()
        for service in services:
            for port in service.ports:
                if port.target not in seen:
                    seen.add(port.target)
                    yield ir.InboundPort(
                        port=port.target, protocol=protocol_of(port), grpc_web=is_grpc_web(port), service=service.host
                    )


def _clusters(named: Mapping[str, tuple[ir.Cluster, ir.Endpoints]]) -> _Clusters:
    return _Clusters(
        named=named,
        clusters=the_same(tuple(cluster for cluster, _ in named.values())),
        endpoints=the_same(tuple(endpoints for _, endpoints in named.values())),
    )


def _with_clusters(proxy: ir.Proxy, known: _Clusters) -> ir.Proxy:
    return replace(proxy, clusters=known.clusters, endpoints=known.endpoints)


def _asked_by(guard: ir.Guard) -> Iterator[str]:
    """Yield the clusters that decide about requests, or know the keys of tokens."""
    yield from (authorizer.cluster for authorizer in guard.access.authorizers)
    yield from (issuer.keys.cluster for issuer in guard.authentication.issuers)


def _identity(workload: Workload, registry: Registry) -> ir.Identity:
    function = "gateway" if workload.gateway else workload.service or workload.labels.get("app", workload.name)
    return ir.Identity(
        chain=registry.chain,
        namespace=workload.namespace,
        function=function,
        version=workload.labels.get("version", ""),
        workload=workload.name,
    )

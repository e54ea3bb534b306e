"""Everything that a check may look at: the registry, and all resources as they apply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from clover.mesh.istio import hosts, resources
from clover.mesh.istio.delegates import delegate_name
from clover.mesh.istio.kinds.virtual_service import HTTPMatchRequest
from clover.mesh.istio.outside import with_entries
from clover.mesh.istio.policies import (
    LOOPBACK,
    MESH,
    Policies,
    bound_to,
    hosts_of,
    policies_from,
    served_domains,
    visible,
)
from clover.mesh.istio.registry import Registry, Service, Workload
from clover.mesh.istio.resources import DestinationRule, Gateway, Resource, VirtualService
from clover.mesh.istio.shadows import Earlier, takes_all_of

_EVERYTHING = HTTPMatchRequest()
MAX_RULES_OF_ALL = 20_000
"""Matches of all VirtualServices together: as many as are checked, compiled and taken in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A host that a resource decides about."""

    kind: str
    where: str
    """A namespace."""
    host: str
    clients: tuple[tuple[str, str], ...] = ()
    """Labels of those for whom it decides, where it chooses them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A host of a VirtualService at a gateway's port."""

    address: str
    port: int
    host: str
    domain: str
    """The Host value for which the gateway asks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The mesh that resources are checked against."""

    registry: Registry
    policies: Policies
    order: Mapping[str, int]
    """Places of the resources in the order given: of two that exclude each other, the later is reported."""
    owners: dict[Claim, str] = field(default_factory=dict)
    """Which resource was the first, in the order given, to claim what only one can have."""
    roots: dict[str, list[VirtualService]] = field(default_factory=dict)
    """By `namespace/name` of a delegate, the VirtualServices that delegate to it."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By key of a VirtualService, the number of matches in it, and in it and those before it."""
    hidden: dict[str, list[tuple[int, str, Served]]] = field(default_factory=dict)
    """By key of a VirtualService, its rules that never see a request at a gateway: the rule, whose rule takes them all
    before, and where."""

    by_host: dict[str, list[Service]] = field(default_factory=dict)
    """Services by their full host or wildcard; only mistakes have several."""
    by_address: dict[tuple[str, int], Service] = field(default_factory=dict)
    """By virtual address and port, the first service that is there."""

    told: tuple[str, ...] = ()
    """Namespaces in which there are proxies; where files are all that is known, every one that they speak of."""
    clients: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """Namespaces, and labels, that DestinationRules tell apart: each once that some workload has."""
    guarded: dict[str, dict[str, Workload]] = field(default_factory=dict)
    """By `resources.key` of an AuthorizationPolicy, whom it is for, by name: found out when the first rule asks."""

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces in which there are proxies."""
        return self.registry.namespaces

    def gateway(self, name: str) -> Gateway | None:
        """Find a Gateway by `namespace/name`."""
        return self.policies.gateway_named.get(name)

    def covered(self, host: str) -> tuple[Service, ...]:
        """Return the services that a full host name, or a wildcard, stands for."""
        if not host.startswith("*"):
            return tuple(self.by_host.get(host, ()))
        return tuple(service for service in self.registry.services if hosts.covers(host, service.host))

    def tells_services_of(self, host: str) -> bool:
        """Tell whether a service of that full name would be known if it existed."""
        if self.registry.complete:
            return True
        if not host.endswith(f".{hosts.DOMAIN}"):
            return bool(self.registry.services)
        _, _, namespace = host.removesuffix(f".{hosts.DOMAIN}").rpartition(".")
        return any(service.namespace == namespace for service in self.registry.services)

    def known_hosts(self) -> Iterator[str]:
        """Yield the names that a person would write for the services."""
        for service in self.registry.services:
            yield service.name
            yield service.host

    def listener_ports(self, resource: VirtualService) -> set[int]:
        """Return the ports of all listeners whose routes a VirtualService decides."""
        ports = set()
        for root in self.roots_of(resource):
            names = bound_to(root)
            if MESH in names:
                covered = (service for host in hosts_of(root) for service in self.covered(host))
                ports |= {port.number for service in covered for port in service.ports}
            for gateway in filter(None, map(self.gateway, names)):
                ports |= {server.port.number for server in gateway.spec.servers}
        return ports

    def roots_of(self, resource: VirtualService) -> tuple[VirtualService, ...]:
        """Return the VirtualServices that delegate to a delegate; any other is a root itself."""
        if not resource.is_delegate:
            return (resource,)
        return tuple(self.roots.get(f"{resource.metadata.namespace}/{resource.metadata.name}", ()))

    def bound(self, resource: VirtualService) -> tuple[str, ...]:
        """Return the gateways for which the rules of a VirtualService are, as `mesh` or `namespace/name`."""
        return tuple(dict.fromkeys(name for root in self.roots_of(resource) for name in bound_to(root)))

    def rules_for(self, service: Service, resource: VirtualService) -> tuple[DestinationRule | None, ...]:
        """Return the DestinationRules that the proxies which obey `resource` apply to a service."""
        return tuple(
            self.policies.destination_rule_for(service, seen_from=namespace, labels=dict(labels))
            for namespace, labels in self.clients
            if visible(resource, namespace)
        )

    def claims(self, resource: Resource) -> Iterator[Claim]:
        """Yield what only one resource can have."""
        if isinstance(resource, VirtualService):
            yield from self._routed_hosts(resource)
        elif isinstance(resource, DestinationRule):
            namespace = resource.metadata.namespace
            host, chosen = hosts.full_host(resource.spec.host, namespace), resource.spec.workload_selector
            clients = tuple(sorted(chosen.match_labels.items())) if chosen else ()
            yield Claim(kind=resource.kind, where=namespace, host=host, clients=clients)

    def _routed_hosts(self, resource: VirtualService) -> Iterator[Claim]:
        """A host has one VirtualService in the sidecars of a namespace; at gateways several are put together."""
        if MESH in bound_to(resource):
            for host in hosts_of(resource):
                for namespace in self.told or (resource.metadata.namespace,):
                    if visible(resource, namespace):
                        yield Claim(kind=resource.kind, where=namespace, host=host)

    def served(self, resource: VirtualService) -> Iterator[Served]:
        """Yield where gateways serve hosts of a VirtualService."""
        for gateway in filter(None, map(self.gateway, bound_to(resource))):
            for server in gateway.spec.servers:
                for host, domain in served_domains(resource, gateway, server):
                    address, port = server.bind or LOOPBACK, server.port.number
                    yield Served(address=address, port=port, host=host, domain=domain)


def mesh_from(registry: Registry, everything: Iterable[Resource]) -> Mesh:
    """Gather what checks look at."""
    found = tuple(everything)
    order = {resources.key(resource): place for place, resource in enumerate(found)}
    policies = policies_from(found)
    clients = ((workload.namespace, policies.client(workload)) for workload in registry.workloads)
    everywhere = ((namespace, ()) for namespace in registry.namespaces)
    spoken_of = () if registry.complete else (resource.metadata.namespace for resource in found)
    mesh = Mesh(
        registry=with_entries(registry, policies),
        policies=policies,
        order=order,
        told=tuple(dict.fromkeys((*registry.namespaces, *spoken_of))),
        clients=tuple(dict.fromkeys(clients if policies.clients_told_apart_by else everywhere)),
    )
    for known in mesh.registry.services:
        mesh.by_host.setdefault(known.host, []).append(known)
        for address, port in product(known.addresses, known.ports):
            mesh.by_address.setdefault((address, port.number), known)
    for resource in found:
        key = resources.key(resource)
        for claim in mesh.claims(resource):
            mesh.owners.setdefault(claim, key)
    together: dict[Served, list[VirtualService]] = {}
    total = 0
    for service in mesh.policies.virtual_services:
        size = mesh.policies.size_of(service)
        total += size
        mesh.sizes[resources.key(service)] = size, total
        for name in dict.fromkeys(delegate_name(rule, service) for rule in service.spec.http):
            mesh.roots.setdefault(name, []).append(service)
        for place in dict.fromkeys(mesh.served(service)):
            together.setdefault(place, []).append(service)
    if total <= MAX_RULES_OF_ALL:
        for place, services in together.items():
            _find_hidden(place, services, mesh)
    return mesh


def _find_hidden(place: Served, services: Sequence[VirtualService], mesh: Mesh) -> None:
    """Look through the VirtualServices whose routes are put together at one place, in that order."""
    if len(services) < 2:
        return
    before, last = Earlier(), None
    for number, service in enumerate(services):
        own = [
            (index, match)
            for index, (rule, _) in enumerate(mesh.policies.rules_of(service))
            for match in rule.match or (HTTPMatchRequest(),)
        ]
        # What takes everything comes last of all, and of several of these the first is asked.
        for index, match in own if number else ():
            owner = last if takes_all_of(match, _EVERYTHING) else before.shadow_of(match)
            if owner is not None:
                found = index, resources.key(services[owner]), place
                mesh.hidden.setdefault(resources.key(service), []).append(found)
        for _, match in own:
            if not takes_all_of(match, _EVERYTHING):
                before.add(number, match)
            elif last is None:
                last = number

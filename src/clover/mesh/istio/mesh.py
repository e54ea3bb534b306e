"""Everything that a check may look at: the registry, and all resources as they apply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from clover.mesh.istio import hosts, resources
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
from clover.mesh.istio.registry import Registry, Service
from clover.mesh.istio.resources import DestinationRule, Gateway, Resource, VirtualService


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A host that a resource decides about."""

    kind: str
    where: str | tuple[str, int, str]
    """A namespace; or address, port and Host value of a gateway."""
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The mesh that resources are checked against."""

    registry: Registry
    policies: Policies
    order: Mapping[str, int]
    """Places of the resources in the order given: of two that exclude each other, the later is reported."""
    owners: dict[Claim, str] = field(default_factory=dict)
    """Which resource was the first, in the order given, to claim what only one can have."""

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces in which there are proxies."""
        return tuple(dict.fromkeys(workload.namespace for workload in self.registry.workloads))

    def gateway(self, name: str) -> Gateway | None:
        """Find a Gateway by `namespace/name`."""
        for gateway in self.policies.gateways:
            if name == f"{gateway.metadata.namespace}/{gateway.metadata.name}":
                return gateway
        return None

    def covered(self, host: str) -> tuple[Service, ...]:
        """Return the services that a full host name, or a wildcard, stands for."""
        return tuple(service for service in self.registry.services if hosts.covers(host, service.host))

    def known_hosts(self) -> Iterator[str]:
        """Yield the names that a person would write for the services."""
        for service in self.registry.services:
            yield service.name
            yield service.host

    def listener_ports(self, resource: VirtualService) -> set[int]:
        """Return the ports of all listeners whose routes a VirtualService decides."""
        ports = set()
        names = bound_to(resource)
        if MESH in names:
            covered = (service for host in hosts_of(resource) for service in self.covered(host))
            ports |= {port.number for service in covered for port in service.ports}
        for gateway in filter(None, map(self.gateway, names)):
            ports |= {server.port.number for server in gateway.spec.servers}
        return ports

    def rules_for(self, service: Service, resource: VirtualService) -> tuple[DestinationRule | None, ...]:
        """Return the DestinationRules that the proxies which obey `resource` apply to a service."""
        seen = [namespace for namespace in self.namespaces() if visible(resource, namespace)]
        return tuple(self.policies.destination_rule_for(service, seen_from=namespace) for namespace in seen)

    def claims(self, resource: Resource) -> Iterator[Claim]:
        """Yield what only one resource can have."""
        if isinstance(resource, VirtualService):
            yield from self._routed_hosts(resource)
        elif isinstance(resource, DestinationRule):
            namespace = resource.metadata.namespace
            yield Claim(kind=resource.kind, where=namespace, host=hosts.full_host(resource.spec.host, namespace))

    def _routed_hosts(self, resource: VirtualService) -> Iterator[Claim]:
        """A host has one VirtualService in the sidecars of a namespace, and one on an address of a gateway."""
        if MESH in bound_to(resource):
            for host in hosts_of(resource):
                for namespace in self.namespaces() or (resource.metadata.namespace,):
                    if visible(resource, namespace):
                        yield Claim(kind=resource.kind, where=namespace, host=host)
        for name in bound_to(resource):
            gateway = self.gateway(name)
            for server in gateway.spec.servers if gateway else ():
                address = (server.bind or LOOPBACK, server.port.number)
                for host, domain in served_domains(resource, gateway, server) if gateway else ():
                    yield Claim(kind=resource.kind, where=(*address, domain), host=host)


def mesh_from(registry: Registry, everything: Iterable[Resource]) -> Mesh:
    """Gather what checks look at."""
    found = tuple(everything)
    order = {resources.key(resource): place for place, resource in enumerate(found)}
    mesh = Mesh(registry=registry, policies=policies_from(found), order=order)
    for resource in found:
        for claim in mesh.claims(resource):
            mesh.owners.setdefault(claim, resources.key(resource))
    return mesh

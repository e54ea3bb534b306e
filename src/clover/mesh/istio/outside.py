"""What ServiceEntries and WorkloadEntries add to the registry: services and members that the chain does not have."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from clover.mesh.istio import resources
from clover.mesh.istio.kinds.service_entry import UNIX, EntryPort, WorkloadEntrySpec
from clover.mesh.istio.policies import Policies
from clover.mesh.istio.registry import Outsider, Registry, Resolution, Service, ServicePort
from clover.mesh.istio.resources import ServiceEntry

ALLOCATED = ipaddress.IPv4Network("240.240.0.0/16")
"""Where hosts without an address get a virtual one, as on Istio: nobody's network."""
_Members = dict[tuple[str, str, str], list[Outsider]]
"""By namespace, label and its value."""
LOOPBACK_ANNOTATION = "clover/loopback"
LOOPBACK_ALLOWED = "allow"


def with_entries(registry: Registry, policies: Policies) -> Registry:
    """Return the registry with every service and member that the entries describe."""
    if not policies.service_entries and not policies.workload_entries:
        return registry
    members: _Members = {}
    for namespace, member in _entered(policies):
        for label in member.labels.items():
            members.setdefault((namespace, *label), []).append(member)
    allocated = virtual_addresses(
        host for entry in policies.service_entries if _wants_address(entry) for host in _names(entry)
    )
    return replace(
        registry,
        services=(
            *(_joined(service, members) for service in registry.services),
            *(
                _service(entry, host, allocated, members)
                for entry in policies.service_entries
                for host in entry.spec.hosts
            ),
        ),
    )


def names_of(registry: Registry) -> dict[str, str]:
    """Return the names of services from outside that functions may dial, with their virtual addresses."""
    return {
        service.hostname: service.address
        for service in registry.services
        if service.hostname and service.address and not service.hostname.startswith("*")
    }


def virtual_addresses(hosts: Iterable[str]) -> dict[str, str]:
    """Give every host an address that, collisions apart, depends on its name alone: it stays as others come and go."""
    found: dict[str, str] = {}
    taken: set[int] = set()
    most = ALLOCATED.num_addresses - 2
    for host in sorted(set(hosts))[:most]:
        number = int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") % most
        while number in taken:
            number = (number + 1) % most
        taken.add(number)
        found[host] = str(ALLOCATED[number + 1])
    return found


def _wants_address(entry: ServiceEntry) -> bool:
    """A virtual address would tell a member that is `whatever was dialled` nothing."""
    return not any(_written(entry)) and entry.spec.resolution != "NONE"


def _written(entry: ServiceEntry) -> Iterator[ipaddress.IPv4Network]:
    """Yield the addresses and networks that an entry names and functions can dial, each once."""
    found = (ipaddress.ip_network(address, strict=False) for address in entry.spec.addresses)
    yield from dict.fromkeys(network for network in found if isinstance(network, ipaddress.IPv4Network))


def _names(entry: ServiceEntry) -> Iterator[str]:
    return (host.lower() for host in entry.spec.hosts if not host.startswith("*"))


def _entered(policies: Policies) -> Iterator[tuple[str, Outsider]]:
    """Yield the members that WorkloadEntries describe, with their namespaces."""
    for entry in policies.workload_entries:
        loopback = entry.metadata.annotations.get(LOOPBACK_ANNOTATION) == LOOPBACK_ALLOWED
        # As on Istio, labels stand in the spec; those of the metadata count where it has none.
        member = _outsider(entry.spec, loopback=loopback)
        yield entry.metadata.namespace, replace(member, labels=member.labels or entry.metadata.labels)


def _joined(service: Service, members: _Members) -> Service:
    """Return a service of the chain with the WorkloadEntries that its selector chooses."""
    selector = service.selector or {"app": service.name}
    joined = _chosen(members, service.namespace, selector)
    return replace(service, outsiders=joined) if joined else service


def _chosen(members: _Members, namespace: str, selector: Mapping[str, str]) -> tuple[Outsider, ...]:
    # Whoever has the rarest of the labels is looked at.
    few = min((members.get((namespace, *label), []) for label in selector.items()), key=len)
    return tuple(member for member in few if selector.items() <= member.labels.items())


def _service(entry: ServiceEntry, written: str, allocated: Mapping[str, str], members: _Members) -> Service:
    spec, host = entry.spec, written.lower()
    # Whatever name is asked for is nobody's choice: as on Istio, nobody is chosen.
    chosen_by = spec.workload_selector if spec.resolution != "DYNAMIC_DNS" else None
    selector = chosen_by.labels if chosen_by else {}
    own = tuple(_written(entry))
    singles = tuple(str(one.network_address) for one in own if one.num_addresses == 1)
    address, *more = singles or (allocated.get(host, ""),)
    return Service(
        name=host,
        namespace=entry.metadata.namespace,
        hostname=host,
        address=address,
        more_addresses=tuple(more),
        networks=tuple(str(one) for one in own if one.num_addresses > 1),
        ports=tuple(map(service_port, spec.ports)),
        selector=selector,
        resolution=Resolution(spec.resolution),
        outsiders=_chosen(members, entry.metadata.namespace, selector) if selector else _endpoints(entry, host),
        external=spec.location == "MESH_EXTERNAL",
        subject_alt_names=spec.subject_alt_names,
        namespaces=_exported(entry),
        source=resources.key(entry),
    )


def _endpoints(entry: ServiceEntry, host: str) -> tuple[Outsider, ...]:
    """Return the members that an entry names; one that is found by its name may leave that to its host."""
    loopback = entry.metadata.annotations.get(LOOPBACK_ANNOTATION) == LOOPBACK_ALLOWED
    named = tuple(_outsider(one, loopback=loopback) for one in entry.spec.endpoints if one.address)
    own = (Outsider(address=host, loopback=loopback),)
    if entry.spec.resolution == "DYNAMIC_DNS":
        return own
    if named or entry.spec.resolution in ("NONE", "STATIC") or entry.spec.workload_selector is not None:
        return named
    return own


def _outsider(spec: WorkloadEntrySpec, *, loopback: bool) -> Outsider:
    return Outsider(
        address=spec.address if spec.address.startswith(UNIX) else spec.address.lower(),
        ports=spec.ports,
        labels=spec.labels,
        weight=spec.weight or 1,
        locality=spec.locality,
        service_account=spec.service_account,
        loopback=loopback,
    )


def service_port(port: EntryPort) -> ServicePort:
    """Return a port as the registry has it."""
    return ServicePort(number=port.number, name=port.name, protocol=port.protocol.upper(), target_port=port.target_port)


def _exported(entry: ServiceEntry) -> tuple[str, ...]:
    if not entry.spec.export_to or "*" in entry.spec.export_to:
        return ()
    return tuple(entry.metadata.namespace if name == "." else name for name in entry.spec.export_to)

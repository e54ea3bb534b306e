"""Does a destination exist: the service, its port, and the subset of its workloads?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.mesh.istio import hosts
from clover.mesh.istio.finding import Finding, Path, nearest
from clover.mesh.istio.kinds.virtual_service import Destination
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import service_at
from clover.mesh.istio.registry import Service
from clover.mesh.istio.resources import DestinationRule, VirtualService


def destination_findings(
    destination: Destination, path: Path, *, resource: VirtualService, ports: Iterable[int], mesh: Mesh
) -> Iterator[Finding]:
    """Yield what does not exist of a destination; `ports` are those of the listeners that send to it."""
    service = service_at(mesh.registry, destination.host, resource.metadata.namespace)
    if service is None:
        yield unknown_host(destination.host, (*path, "host"), mesh, namespace=resource.metadata.namespace)
        if destination.subset:
            yield from _subset_of_untold(destination, path, resource, mesh)
        return
    yield from _port(destination, path, service, ports)
    if destination.subset:
        yield from _subset(destination, path, service, resource, mesh)


def unknown_host(host: str, path: Path, mesh: Mesh, *, namespace: str = "default") -> Finding:
    """Return that no service has the name which a resource in `namespace` says."""
    if not mesh.tells_services_of(hosts.full_host(host, namespace)):
        return _untold(host, path)
    names = dict.fromkeys(service.name for service in mesh.registry.services)
    services = ", ".join(map(repr, list(names)[:12]))
    hint = nearest(host, mesh.known_hosts()) or (f"there are {services}" if services else "")
    if meant := mesh.registry.service(host.lower()):
        hint = f"Istio does not complete a name with dots; write {meant.host!r}"
    what = f"there is no service {host!r} in the mesh"
    return Finding(code="CLV4201", path=path, what=what, hint=hint, istio="IST0101")


def untold_service(name: str, namespace: str, path: Path, *, seen_from: str) -> Finding:
    """Return that nothing says whether a service is there, which a resource in `seen_from` names in two words."""
    return _untold(name if namespace == seen_from else f"{name}.{namespace}", path)


def _untold(host: str, path: Path) -> Finding:
    what = f"nothing here says whether there is a service {host!r}"
    return Finding(code="CLV4111", path=path, what=what, severity="warning", istio="IST0101")


def _port(destination: Destination, path: Path, service: Service, listening: Iterable[int]) -> Iterator[Finding]:
    numbers = [port.number for port in service.ports]
    shown = ", ".join(map(str, numbers)) or "none"
    if destination.port:
        if destination.port.number not in numbers:
            what = f"{service.name!r} has no port {destination.port.number}; it has {shown}"
            yield Finding(code="CLV4202", path=(*path, "port", "number"), what=what)
    elif len(numbers) != 1 and not set(listening) <= set(numbers):
        what = f"{service.name!r} has several ports, and the port that was called is none of them"
        hint = f"say 'port: {{number: ...}}', one of {shown}"
        yield Finding(code="CLV4202", path=path, what=what, hint=hint, istio="IST0112")


def _subset(
    destination: Destination, path: Path, service: Service, resource: VirtualService, mesh: Mesh
) -> Iterator[Finding]:
    for rule in mesh.rules_for(service, resource):
        names = _subsets(rule)
        if destination.subset not in names:
            if rule is None:
                hint = f"write a DestinationRule for {service.name!r} that defines it"
            else:
                hint = nearest(destination.subset, names) or (
                    f"DestinationRule {rule.metadata.namespace}/{rule.metadata.name} defines "
                    + (", ".join(map(repr, names)) or "none")
                )
            what = f"there is no subset {destination.subset!r} of {service.name!r}"
            yield Finding(code="CLV4203", path=(*path, "subset"), what=what, hint=hint, istio="IST0101")
            return


def _subset_of_untold(destination: Destination, path: Path, resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Yield that a subset is not defined where a host is, of which nothing says whether a service has it."""
    host = hosts.full_host(destination.host, resource.metadata.namespace)
    if mesh.tells_services_of(host):
        return
    known = [
        rule
        for rule in mesh.policies.destination_rules
        if hosts.full_host(rule.spec.host, rule.metadata.namespace) == host
    ]
    names = [name for rule in known for name in _subsets(rule)]
    if known and destination.subset not in names:
        hint = nearest(destination.subset, names) or f"there are {', '.join(map(repr, dict.fromkeys(names))) or 'none'}"
        what = f"there is no subset {destination.subset!r} of {destination.host!r}"
        yield Finding(code="CLV4203", path=(*path, "subset"), what=what, hint=hint, istio="IST0101")


def _subsets(rule: DestinationRule | None) -> tuple[str, ...]:
    return tuple(subset.name for subset in rule.spec.subsets) if rule else ()

"""Is a route of the Gateway API obeyed by anybody, and by nobody who obeys something else for the same host?

What Kubernetes would write into a route's status (a parent that is not there, or does not take it) is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio import attachments, hosts, resources
from clover.mesh.istio.attachments import Route
from clover.mesh.istio.destination_checks import untold_service
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.kinds.gateway_api import GROUP, ParentReference
from clover.mesh.istio.kinds.kubernetes_gateway import Listener
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.registry import Service
from clover.mesh.istio.resources import KubernetesGateway


def parents_are_there(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """A route has a parent: a Gateway, or a Service."""
    if not resource.spec.parent_refs:
        hint = "name a Gateway, or a Service, in 'parentRefs'"
        yield _nobody("CLV4353", ("spec",), "the route has no parent, so nobody obeys it", hint)
    for index, reference in enumerate(resource.spec.parent_refs):
        path: Path = ("spec", "parentRefs", index)
        if attachments.means_gateway(reference):
            yield from _gateway(resource, reference, path, mesh)
        elif attachments.means_service(reference):
            yield from _service(resource, reference, path, mesh)
        else:
            what = f"a parent of the kind {cut(reference.kind)!r} and group {cut(reference.group)!r} is not supported"
            hint = f"a Gateway has the group {GROUP!r}, a Service the group ''"
            yield Finding(code="CLV4103", path=(*path, "kind"), what=f"{what} by Clover", hint=hint)


def parents_are_named_once(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """Of two references to one parent, each says which part of it is meant, and they mean different parts."""
    seen: dict[tuple[str, str, str], list[ParentReference]] = {}
    for index, reference in enumerate(resource.spec.parent_refs):
        parent = (reference.kind, attachments.parent_namespace(resource, reference), reference.name)
        part = (reference.section_name, reference.port)
        for other in seen.setdefault(parent, []):
            if (other.section_name, other.port) == part or None in (other.section_name, reference.section_name):
                if other.port != reference.port and None not in (other.port, reference.port):
                    continue
                what = f"the parent {reference.name!r} is named twice"
                hint = "give each reference the 'sectionName' of its listener"
                yield Finding(code="CLV4355", path=("spec", "parentRefs", index), what=what, hint=hint)
                break
        seen[parent].append(reference)


def hosts_are_decided_once(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """Requests for a service obey routes of one kind, or a VirtualService, never both."""
    for service, port in _services(resource, mesh):
        for namespace in _obeyed_in(resource, service, mesh):
            if rival := mesh.policies.virtual_service_for(service, seen_from=namespace):
                yield _decided(f"service {service.name!r}", resources.key(rival))
                break
            routes = attachments.routes_to(service, port, mesh.policies, seen_from=namespace)
            if found := _of_the_other_kind(resource, routes, mesh):
                yield _decided(f"service {service.name!r}", resources.key(found))
                break
    for gateway, listener in _listeners(resource, mesh):
        mine = attachments.domains(resource, listener)
        beside = [
            route
            for route in attachments.attached(gateway, listener, mesh.policies)
            if any(hosts.common(one, other) for one in mine for other in attachments.domains(route, listener))
        ]
        if found := _of_the_other_kind(resource, beside, mesh):
            yield _decided(f"listener {listener.name!r} of Gateway {gateway.metadata.name!r}", resources.key(found))
            break


def _gateway(resource: Route, reference: ParentReference, path: Path, mesh: Mesh) -> Iterator[Finding]:
    namespace = attachments.parent_namespace(resource, reference)
    gateway = attachments.gateway_meant(resource, reference, mesh.policies)
    if gateway is None:
        known = [f"{one.metadata.namespace}/{one.metadata.name}" for one in mesh.policies.kubernetes_gateways]
        hint = nearest(f"{namespace}/{reference.name}", known) or _instead_of_istios(namespace, reference.name, mesh)
        what = f"there is no Gateway '{namespace}/{reference.name}' of the Gateway API, so nobody obeys the route there"
        yield _nobody("CLV4353", (*path, "name"), what, hint)
        return
    meant = tuple(attachments.listeners_meant(reference, gateway))
    if not meant:
        wanted = " and ".join(
            text
            for text in (
                f"the name {reference.section_name!r}" if reference.section_name else "",
                f"the port {reference.port}" if reference.port else "",
            )
            if text
        )
        listeners = ", ".join(f"{one.name!r} on port {one.port}" for one in gateway.spec.listeners)
        yield _nobody(
            "CLV4354", path, f"Gateway {reference.name!r} has no listener with {wanted}", f"it has {listeners}"
        )
    refused = [(listener, attachments.refusal(resource, listener, gateway)) for listener in meant]
    if meant and all(why for _, why in refused):
        reasons = "; ".join(f"{listener.name!r}: {why}" for listener, why in refused)
        what = f"no listener of Gateway {reference.name!r} takes the route: {reasons}"
        yield _nobody("CLV4354", path, what, "see 'allowedRoutes' and 'hostname' of the listener")


def _instead_of_istios(namespace: str, name: str, mesh: Mesh) -> str:
    if mesh.gateway(f"{namespace}/{name}"):
        return "Istio's Gateway of that name obeys VirtualServices"
    return ""


def _service(resource: Route, reference: ParentReference, path: Path, mesh: Mesh) -> Iterator[Finding]:
    namespace = attachments.parent_namespace(resource, reference)
    service = attachments.service_named(reference.name, namespace, mesh.registry)
    if service is None:
        if not mesh.tells_services_of(f"{reference.name}.{namespace}.{hosts.DOMAIN}"):
            yield untold_service(reference.name, namespace, (*path, "name"), seen_from=resource.metadata.namespace)
        else:
            known = [known.name for known in mesh.registry.services if known.namespace == namespace]
            what = f"there is no service '{namespace}/{reference.name}', so nobody obeys the route there"
            yield _nobody("CLV4353", (*path, "name"), what, nearest(reference.name, known))
        return
    meant = tuple(attachments.ports_meant(reference, service))
    shown = ", ".join(f"{port.number} {port.name!r}" if port.name else str(port.number) for port in service.ports)
    if not meant:
        yield _nobody("CLV4354", path, f"service {service.name!r} has no such port", f"it has {shown}")
    if len(meant) > 1:
        what = f"the rules are for every port of {service.name!r}: {shown}"
        yield Finding(code="CLV4361", path=path, what=what, hint="say which one by 'port'", severity="warning")
    if resource.spec.hostnames and all(map(attachments.means_service, resource.spec.parent_refs)):
        what = "a route whose parent is a Service is obeyed whatever the host"
        yield Finding(code="CLV4361", path=("spec", "hostnames"), what=what, severity="warning")


def _services(resource: Route, mesh: Mesh) -> Iterator[tuple[Service, int]]:
    for reference in filter(attachments.means_service, resource.spec.parent_refs):
        namespace = attachments.parent_namespace(resource, reference)
        if service := attachments.service_named(reference.name, namespace, mesh.registry):
            for port in attachments.ports_meant(reference, service):
                yield service, port.number


def _obeyed_in(resource: Route, service: Service, mesh: Mesh) -> tuple[str, ...]:
    """Return the namespaces whose sidecars may obey a route to a service."""
    own = resource.metadata.namespace
    return mesh.namespaces() if own == service.namespace else (own,)


def _listeners(resource: Route, mesh: Mesh) -> Iterator[tuple[KubernetesGateway, Listener]]:
    for gateway in filter(attachments.is_ours, mesh.policies.kubernetes_gateways):
        for listener in gateway.spec.listeners:
            if resource in attachments.attached(gateway, listener, mesh.policies):
                yield gateway, listener


def _of_the_other_kind(resource: Route, routes: tuple[Route, ...] | list[Route], mesh: Mesh) -> Route | None:
    """Return a route of another kind that came first, if there is one."""
    here = mesh.order[resources.key(resource)]
    for route in routes:
        if route.kind != resource.kind and mesh.order[resources.key(route)] < here:
            return route
    return None


def _decided(what: str, by: str) -> Finding:
    kind, name = by.split("/", 1)
    return Finding(
        code="CLV4356",
        path=("spec", "parentRefs"),
        what=f"requests to {what} are already decided by {kind} {name!r}",
        hint=f"put all rules into one kind of resource, or delete {kind.lower()}/{name.rpartition('/')[2]} first",
    )


def _nobody(code: str, path: Path, what: str, hint: str) -> Finding:
    return Finding(code=code, path=path, what=what, hint=hint, severity="warning")


RULES = (parents_are_there, parents_are_named_once, hosts_are_decided_once)

"""Which routes of the Gateway API decide where, and what they may refer to: its rules of attachment, as questions.

Nothing here reports or translates: the checks ask why something is refused, the translation asks what is left.
"""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio import hosts
from clover.mesh.istio.kinds.gateway_api import GROUP, CommonFilter, ObjectReference, ParentReference, Reference
from clover.mesh.istio.kinds.grpc_route import GRPCRouteMatch, GRPCRouteRule
from clover.mesh.istio.kinds.http_route import HTTPRouteMatch, HTTPRouteRule
from clover.mesh.istio.kinds.kubernetes_gateway import LabelExpression, LabelSelector, Listener
from clover.mesh.istio.policies import LOOPBACK, Policies
from clover.mesh.istio.registry import Registry, Service, ServicePort
from clover.mesh.istio.resources import GRPCRoute, HTTPRoute, KubernetesGateway

Route = HTTPRoute | GRPCRoute
Rule = HTTPRouteRule | GRPCRouteRule

CLASSES = ("istio", "clover")
"""The gateway classes that Clover carries out; Gateways of others are somebody else's."""
EVERY_HOST = "*"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def routes_of(policies: Policies) -> tuple[Route, ...]:
    """Return all routes; of two that are equal in rank, the one that comes first here decides."""
    return (*policies.http_routes, *policies.grpc_routes)


def rules_of(route: Route) -> tuple[Rule, ...]:
    """Return a route's rules."""
    return tuple(route.spec.rules)


def matches_of(rule: Rule) -> tuple[HTTPRouteMatch | GRPCRouteMatch, ...]:
    """Return a rule's matches; empty: it takes everything."""
    return tuple(rule.matches)


def steps_of(rule: Rule) -> tuple[CommonFilter, ...]:
    """Return a rule's filters, as far as HTTP and gRPC share them."""
    return tuple(rule.filters)


def is_ours(gateway: KubernetesGateway) -> bool:
    """Tell whether a Gateway is of a class that Clover carries out."""
    return gateway.spec.gateway_class_name in CLASSES


def addresses_of(gateway: KubernetesGateway) -> tuple[str, ...]:
    """Return where a Gateway listens."""
    return tuple(dict.fromkeys(address.value or LOOPBACK for address in gateway.spec.addresses)) or (LOOPBACK,)


def means_gateway(reference: ParentReference) -> bool:
    """Tell whether a route's parent is a Gateway."""
    return (reference.group, reference.kind) == (GROUP, "Gateway")


def means_service(reference: ParentReference) -> bool:
    """Tell whether a route's parent is a Service: the sidecars that call it obey the route."""
    return (reference.group, reference.kind) == ("", "Service")


def parent_namespace(route: Route, reference: ParentReference) -> str:
    """Return the namespace of a parent; without any word, the route's own."""
    return reference.namespace or route.metadata.namespace


def gateway_meant(route: Route, reference: ParentReference, policies: Policies) -> KubernetesGateway | None:
    """Find the Gateway that a route names as its parent."""
    namespace = parent_namespace(route, reference)
    for gateway in policies.kubernetes_gateways:
        if (gateway.metadata.namespace, gateway.metadata.name) == (namespace, reference.name):
            return gateway
    return None


def listeners_meant(reference: ParentReference, gateway: KubernetesGateway) -> Iterator[Listener]:
    """Yield the listeners of a Gateway that a parent reference speaks of."""
    for listener in gateway.spec.listeners:
        if reference.section_name in (None, listener.name) and reference.port in (None, listener.port):
            yield listener


def refusal(route: Route, listener: Listener, gateway: KubernetesGateway) -> str:
    """Return why a listener does not take a route; empty: it does."""
    allowed = listener.allowed_routes
    if allowed.kinds and (GROUP, route.kind) not in {(kind.group, kind.kind) for kind in allowed.kinds}:
        return f"it does not take a {route.kind}"
    if not _takes_namespace(listener, route.metadata.namespace, gateway.metadata.namespace):
        return f"it takes no routes of the namespace {route.metadata.namespace!r}"
    if not domains(route, listener):
        return f"its host is {listener.hostname!r}, which is none of the route's"
    return ""


def domains(route: Route, listener: Listener) -> tuple[str, ...]:
    """Return the Host values that are in a listener's hosts and in a route's."""
    own = listener.hostname or EVERY_HOST
    found = (hosts.common(own, written) for written in route.spec.hostnames or (EVERY_HOST,))
    return tuple(dict.fromkeys(domain for domain in found if domain is not None))


def attached(gateway: KubernetesGateway, listener: Listener, policies: Policies) -> Iterator[Route]:
    """Yield the routes that a listener of a Gateway obeys."""
    for route in routes_of(policies):
        for reference in filter(means_gateway, route.spec.parent_refs):
            if gateway_meant(route, reference, policies) is not gateway:
                continue
            if listener in listeners_meant(reference, gateway) and not refusal(route, listener, gateway):
                yield route
                break


def owner_of(domain: str, port: int, gateway: KubernetesGateway) -> Listener | None:
    """Return the listener of a port that requests for a host belong to: the one whose host says most."""
    same = {listener.hostname or EVERY_HOST: listener for listener in gateway.spec.listeners if listener.port == port}
    host = hosts.best(same, domain)
    return same[host] if host else None


def routes_to(service: Service, port: int, policies: Policies, *, seen_from: str) -> tuple[Route, ...]:
    """
    Return the routes that sidecars in the namespace `seen_from` obey for a port of a service.

    A route of the service's own namespace is its producer's, for all who call it. A route of another namespace is for
    callers there alone, and takes the place of the producer's.
    """
    found = [route for route in routes_of(policies) if _is_for(route, service, port)]
    consumers = tuple(route for route in found if seen_from == route.metadata.namespace != service.namespace)
    return consumers or tuple(route for route in found if route.metadata.namespace == service.namespace)


def ports_meant(reference: ParentReference, service: Service) -> Iterator[ServicePort]:
    """Yield the ports of a service that a parent reference speaks of."""
    for port in service.ports:
        if reference.port in (None, port.number) and reference.section_name in (None, port.name):
            yield port


def service_named(name: str, namespace: str, registry: Registry) -> Service | None:
    """Find a service by its name, which is not completed in any way."""
    return registry.service(f"{name}.{namespace}.{hosts.DOMAIN}")


def is_granted(reference: Reference, owner: Route | KubernetesGateway, policies: Policies) -> bool:
    """Tell whether something may refer to an object: of its own namespace, or one that a ReferenceGrant gives it."""
    namespace = reference.namespace or owner.metadata.namespace
    if namespace == owner.metadata.namespace:
        return True
    source = (GROUP, owner.kind, owner.metadata.namespace)
    return any(
        any((one.group, one.kind, one.namespace) == source for one in grant.spec.from_)
        and any(
            (one.group, one.kind) == (reference.group, reference.kind) and one.name in (None, "", reference.name)
            for one in grant.spec.to
        )
        for grant in policies.reference_grants
        if grant.metadata.namespace == namespace
    )


def backend(reference: ObjectReference, route: Route, registry: Registry, policies: Policies) -> Service | None:
    """Return the service that a reference means, when it has the port and the route may refer to it."""
    if (reference.group, reference.kind) != ("", "Service") or not is_granted(reference, route, policies):
        return None
    service = service_named(reference.name, reference.namespace or route.metadata.namespace, registry)
    return service if service and reference.port in {port.number for port in service.ports} else None


def _is_for(route: Route, service: Service, port: int) -> bool:
    return any(
        (reference.name, parent_namespace(route, reference)) == (service.name, service.namespace)
        and port in {known.number for known in ports_meant(reference, service)}
        for reference in route.spec.parent_refs
        if means_service(reference)
    )


def _takes_namespace(listener: Listener, namespace: str, own: str) -> bool:
    wanted = listener.allowed_routes.namespaces
    if wanted.from_ == "Selector":
        return wanted.selector is not None and _selects(wanted.selector, {NAMESPACE_LABEL: namespace})
    return wanted.from_ == "All" or namespace == own


def _selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    expressions = (_holds(expression, labels) for expression in selector.match_expressions)
    return selector.match_labels.items() <= labels.items() and all(expressions)


def _holds(expression: LabelExpression, labels: dict[str, str]) -> bool:
    match expression.operator:
        case "In":
            return labels.get(expression.key) in expression.values
        case "NotIn":
            return labels.get(expression.key) not in expression.values
        case "Exists":
            return expression.key in labels
        case "DoesNotExist":
            return expression.key not in labels

"""Which resource applies where: Istio's rules of precedence, and nothing about what a policy does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from clover.mesh.istio import delegates, hosts, resources
from clover.mesh.istio.kinds.destination_rule import PolicyParts, Subset, TrafficPolicy
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.kinds.virtual_service import HTTPRoute as Rule
from clover.mesh.istio.registry import Outsider, Registry, Service, Workload
from clover.mesh.istio.resources import (
    AuthorizationPolicy,
    DestinationRule,
    Gateway,
    GRPCRoute,
    HTTPRoute,
    KubernetesGateway,
    PeerAuthentication,
    ReferenceGrant,
    RequestAuthentication,
    Resource,
    ServiceEntry,
    Sidecar,
    Telemetry,
    VirtualService,
    WorkloadEntry,
)

_Kind = TypeVar("_Kind", bound=Resource)

MESH = "mesh"
"""The gateway name that stands for every sidecar."""
GATEWAY_LABELS = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
"""Those of the gateway that is installed with Istio, which its samples and most policies choose by one or the other."""
NO_LABELS: Mapping[str, str] = {}
NOTHING_SAID = TrafficPolicy.model_construct()
LOOPBACK = "127.0.0.1"
"""Where a gateway listens unless its author says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """All resources of a mesh, by kind, in an order that does not depend on how they came."""

    virtual_services: tuple[VirtualService, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    service_entries: tuple[ServiceEntry, ...] = ()
    workload_entries: tuple[WorkloadEntry, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    authorization_policies: tuple[AuthorizationPolicy, ...] = ()
    request_authentications: tuple[RequestAuthentication, ...] = ()
    telemetries: tuple[Telemetry, ...] = ()
    kubernetes_gateways: tuple[KubernetesGateway, ...] = ()
    http_routes: tuple[HTTPRoute, ...] = ()
    grpc_routes: tuple[GRPCRoute, ...] = ()
    reference_grants: tuple[ReferenceGrant, ...] = ()

    delegates: Mapping[str, VirtualService] = field(default_factory=dict)
    """By `namespace/name`, those without hosts."""
    routed: Mapping[str, tuple[VirtualService, ...]] = field(default_factory=dict)
    """By full host or wildcard, those that sidecars obey."""
    wildcards: tuple[str, ...] = ()
    """Those keys of `routed` that stand for several hosts."""
    gateway_named: Mapping[str, Gateway] = field(default_factory=dict)
    """By `namespace/name`."""
    bound: Mapping[str, tuple[VirtualService, ...]] = field(default_factory=dict)
    """By `mesh` or `namespace/name` of a Gateway, the VirtualServices for it."""
    ruled: Mapping[str, Mapping[str, tuple[DestinationRule, ...]]] = field(default_factory=dict)
    """By namespace, and by full host or wildcard; those for chosen clients come first."""
    clients_told_apart_by: tuple[str, ...] = ()
    """Labels that DestinationRules ask their clients for."""
    ruled_wildcards: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By namespace, those of its hosts in `ruled` that stand for several."""

    def virtual_service_for(self, service: Service, *, seen_from: str) -> VirtualService | None:
        """Return the VirtualService that sidecars in the namespace `seen_from` obey for a service."""
        seen = {
            host: candidate
            for host in self._patterns(service.host)
            for candidate in reversed(self.routed[host])
            if visible(candidate, seen_from)
        }
        host = hosts.best(seen, service.host)
        return seen[host] if host else None

    def rules_of(self, service: VirtualService) -> Iterator[tuple[Rule, VirtualService]]:
        """Yield the rules for HTTP of a VirtualService, each with the VirtualService that it is written in."""
        for rule in service.spec.http:
            name = delegates.delegate_name(rule, service)
            if not name:
                yield rule, service
            elif (inner := self.delegates.get(name)) and visible(inner, service.metadata.namespace):
                yield from ((each, inner) for each in delegates.merged(service, rule, inner))

    def size_of(self, service: VirtualService) -> int:
        """Return how many matches the rules of a VirtualService have, delegates included, without merging them."""
        return sum(len(rule.match) or 1 for rule in service.spec.http if not rule.delegate) + sum(
            (len(rule.match) or 1) * sum(len(inner.match) or 1 for inner in delegate.spec.http)
            for rule in service.spec.http
            if (delegate := self.delegates.get(delegates.delegate_name(rule, service)))
        )

    def destination_rule_for(
        self, service: Service, *, seen_from: str, labels: Mapping[str, str] = NO_LABELS
    ) -> DestinationRule | None:
        """Return the DestinationRule that clients with `labels` in the namespace `seen_from` obey for a service."""
        for namespace in dict.fromkeys((seen_from, service.namespace)):
            if namespace not in self.ruled:
                continue
            rules = self.ruled[namespace]
            seen = {
                host: told
                for host in (service.host, *self.ruled_wildcards[namespace])
                if (told := [rule for rule in rules.get(host, ()) if _is_told(rule, seen_from)])
            }
            if host := hosts.best(seen, service.host):
                return next((rule for rule in seen[host] if chooses(rule, labels)), None)
        return None

    def client(self, workload: Workload) -> tuple[tuple[str, str], ...]:
        """Return those labels of a workload that DestinationRules ask their clients for."""
        labels = labels_of(workload)
        return tuple((name, labels[name]) for name in self.clients_told_apart_by if name in labels)

    def _patterns(self, host: str) -> Iterator[str]:
        if host in self.routed:
            yield host
        yield from (pattern for pattern in self.wildcards if hosts.covers(pattern, host))

    def gateways_of(self, workload: Workload) -> Iterator[Gateway]:
        """Yield the Gateways that choose a workload by its labels."""
        return (gateway for gateway in self.gateways if is_opened_by(gateway, workload))


def policies_from(found: Iterable[Resource]) -> Policies:
    """Sort resources into kinds."""
    ordered = sorted(found, key=resources.key)
    virtual_services = _only(VirtualService, ordered)
    destination_rules = _only(DestinationRule, ordered)
    routed: dict[str, tuple[VirtualService, ...]] = {}
    for service in virtual_services:
        for host in hosts_of(service) if MESH in bound_to(service) else ():
            routed[host] = (*routed.get(host, ()), service)
    ruled: dict[str, dict[str, tuple[DestinationRule, ...]]] = {}
    for rule in sorted(destination_rules, key=lambda one: one.spec.workload_selector is None):
        own = ruled.setdefault(rule.metadata.namespace, {})
        host = hosts.full_host(rule.spec.host, rule.metadata.namespace)
        own[host] = (*own.get(host, ()), rule)
    asked = {
        name for rule in destination_rules if (chosen := rule.spec.workload_selector) for name in chosen.match_labels
    }
    gateways = _only(Gateway, ordered)
    bound: dict[str, list[VirtualService]] = {}
    for service in virtual_services:
        for name in dict.fromkeys(bound_to(service)):
            bound.setdefault(name, []).append(service)
    return Policies(
        virtual_services=virtual_services,
        destination_rules=destination_rules,
        gateways=gateways,
        service_entries=_only(ServiceEntry, ordered),
        workload_entries=_only(WorkloadEntry, ordered),
        sidecars=_only(Sidecar, ordered),
        peer_authentications=_only(PeerAuthentication, ordered),
        authorization_policies=_only(AuthorizationPolicy, ordered),
        request_authentications=_only(RequestAuthentication, ordered),
        telemetries=_only(Telemetry, ordered),
        kubernetes_gateways=_only(KubernetesGateway, ordered),
        http_routes=_only(HTTPRoute, ordered),
        grpc_routes=_only(GRPCRoute, ordered),
        reference_grants=_only(ReferenceGrant, ordered),
        delegates={
            f"{service.metadata.namespace}/{service.metadata.name}": service
            for service in virtual_services
            if service.is_delegate
        },
        routed=routed,
        wildcards=tuple(host for host in routed if host.startswith("*")),
        gateway_named={f"{gateway.metadata.namespace}/{gateway.metadata.name}": gateway for gateway in gateways},
        bound={name: tuple(services) for name, services in bound.items()},
        ruled=ruled,
        clients_told_apart_by=tuple(sorted(asked)),
        ruled_wildcards={
            namespace: tuple(host for host in rules if host.startswith("*")) for namespace, rules in ruled.items()
        },
    )


def _only(model: type[_Kind], found: Iterable[Resource]) -> tuple[_Kind, ...]:
    return tuple(item for item in found if isinstance(item, model))


def bound_to(resource: VirtualService) -> tuple[str, ...]:
    """Return the gateways of a VirtualService as `mesh` or `namespace/name`."""
    return gateway_names(resource.spec.gateways or (MESH,), resource.metadata.namespace)


def gateway_names(names: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Return gateway references as `mesh` or `namespace/name`."""
    return tuple(name if name == MESH or "/" in name else f"{namespace}/{name}" for name in names)


def is_opened_by(gateway: Gateway, workload: Workload) -> bool:
    """Tell whether a Gateway is for a workload."""
    return workload.gateway and gateway.spec.selector.items() <= labels_of(workload).items()


def labels_of(workload: Workload) -> dict[str, str]:
    """Return a workload's labels; a gateway for which none are said has those of Istio's own."""
    return dict(workload.labels or (GATEWAY_LABELS if workload.gateway else {}))


def service_at(registry: Registry, host: str, namespace: str) -> Service | None:
    """Find the service that a resource in `namespace` means; as Istio, names with a dot are not completed."""
    full = hosts.full_host(host, namespace)
    found = registry.service(full)
    return found if found and found.host == full else None


def outsiders(service: Service, subset: Subset | None = None) -> Iterator[Outsider]:
    """Yield the members of a service, or of one of its subsets, that are no workloads."""
    wanted = subset.labels.items() if subset else ()
    for member in service.outsiders:
        if all(item in member.labels.items() for item in wanted):
            yield member


def members(registry: Registry, service: Service, subset: Subset | None = None) -> Iterator[Workload]:
    """Yield the workloads behind a service, or behind one of its subsets, ready or not."""
    wanted = subset.labels.items() if subset else ()
    for workload in registry.members(service):
        if all(item in workload.labels.items() for item in wanted):
            yield workload


def policy_for(rule: DestinationRule | None, port: int, subset: Subset | None = None) -> TrafficPolicy:
    """
    Return what a DestinationRule asks for one port of its host.

    The settings of a port replace those that a port can have as a whole; those of a subset replace them part by part.
    """
    merged = NOTHING_SAID
    for policy in (rule.spec.traffic_policy if rule else None, subset.traffic_policy if subset else None):
        if policy is None:
            continue
        said = {name: value for name in _PARTS if (value := getattr(policy, name)) is not None}
        setting = next((one for one in policy.port_level_settings if one.port.number == port), None)
        if setting is not None:
            said |= {name: getattr(setting, name) for name in PolicyParts.model_fields}
        merged = merged.model_copy(update=said)
    return merged


_PARTS = tuple(name for name in TrafficPolicy.model_fields if name != "port_level_settings")


def served_domains(service: VirtualService, gateway: Gateway, server: Server) -> Iterator[tuple[str, str]]:
    """Yield each host of a VirtualService that a server serves, and the Host values for which it does."""
    for written in service.spec.hosts:
        host = hosts.full_host(written, service.metadata.namespace)
        for pattern in server.hosts:
            namespace, _, domain = pattern.rpartition("/")
            wanted = {"": "*", ".": gateway.metadata.namespace}.get(namespace, namespace)
            if wanted not in ("*", service.metadata.namespace):
                continue
            if (domains := hosts.common(domain.lower(), host)) is not None:
                yield host, domains


def chooses(rule: DestinationRule, labels: Mapping[str, str]) -> bool:
    """Tell whether a rule is for a client with `labels`, as far as these say it."""
    chosen = rule.spec.workload_selector
    return chosen is None or chosen.match_labels.items() <= labels.items()


def _is_told(rule: DestinationRule, seen_from: str) -> bool:
    """Tell whether a namespace hears of a rule: of one that chooses its clients only its own does."""
    return rule.metadata.namespace == seen_from or (rule.spec.workload_selector is None and visible(rule, seen_from))


def visible(resource: VirtualService | DestinationRule, seen_from: str) -> bool:
    """Tell whether proxies in the namespace `seen_from` obey a resource."""
    export_to = resource.spec.export_to
    return not export_to or "*" in export_to or resource.metadata.namespace == seen_from


def hosts_of(resource: VirtualService) -> Iterator[str]:
    """Yield the full names of the hosts that a VirtualService speaks of."""
    for host in resource.spec.hosts:
        yield hosts.full_host(host, resource.metadata.namespace)

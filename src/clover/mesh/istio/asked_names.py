"""
What must hold where a service is whatever name is asked for (DYNAMIC_DNS): the name can be read.

The way out reads it from the head of a request, from what the sidecar says of a function's TLS or, where the sidecar
itself begins TLS, from the server name. Whatever would hide that, or make one connection carry the requests for several
names, cannot be carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from clover.mesh.istio import protocols, resources
from clover.mesh.istio.connection_rules import rules_of
from clover.mesh.istio.finding import Finding, Path, cut
from clover.mesh.istio.kinds.destination_rule import PolicyParts, TrafficPolicy
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.outside import service_port
from clover.mesh.istio.policies import policy_for, service_at
from clover.mesh.istio.registry import Resolution, Service, ServicePort
from clover.mesh.istio.resources import DestinationRule, ServiceEntry, VirtualService

_MODE = Resolution.DYNAMIC_DNS.value
_READ = ("HTTP", "TLS")
_HTTP2 = ("HTTP2", "GRPC")
"""Istio reads names from these in plain text as well."""
_BEGIN = ("SIMPLE", "MUTUAL")
"""Modes with which a proxy begins TLS, and says the name that a request asks for."""


def names_can_be_asked_for(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """As on Istio, hosts are wildcards, nothing else says where they are, and ports tell the name that is meant."""
    spec = resource.spec
    if spec.resolution != _MODE:
        return
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            what = f"with {_MODE!r} a host is a wildcard, and {cut(host)!r} is none"
            yield _entry(("spec", "hosts", index), what, "use 'resolution: DNS'")
    for name, given in (("addresses", spec.addresses), ("endpoints", spec.endpoints)):
        if given:
            what = f"with {_MODE!r} there are no {name!r}: a request goes to the name that it asks for"
            yield _entry(("spec", name), what, "use 'STATIC' or 'DNS' for members that are known")
    if spec.workload_selector is not None:
        what = f"with {_MODE!r} nobody is chosen: a request goes to the name that it asks for"
        yield _entry(("spec", "workloadSelector"), what, severity="warning")
    for index, port in enumerate(spec.ports):
        said, path = protocols.declared(service_port(port)), ("spec", "ports", index, "protocol")
        if said in _HTTP2 and not _tls_is_begun(resource, port.number, mesh):
            what = f"{said!r} with {_MODE!r} is not supported by Clover in plain text, where it does not read names"
            hint = "let a DestinationRule begin TLS, or say 'TLS' where clients do that themselves"
            yield Finding(code="CLV4103", path=path, what=what, hint=hint)
        elif said not in (*_READ, *_HTTP2):
            known = ", ".join((*_READ, *_HTTP2))
            what = f"with {_MODE!r} a port is one of {known}, where clients say the name that they mean"
            yield _entry(path, what)


def _entry(path: Path, what: str, hint: str = "", severity: str = "error") -> Finding:
    return Finding(code="CLV4382", path=path, what=what, hint=hint, severity=severity)


def _tls_is_begun(resource: ServiceEntry, port: int, mesh: Mesh) -> bool:
    """Tell whether every proxy that knows the service begins TLS at a port of it, so that the server name is said."""
    source = resources.key(resource)
    policies = [policy_for(rule, port) for service, rule in _obeyed(mesh) if service.source == source]
    return bool(policies) and all(policy.tls is not None and policy.tls.mode in _BEGIN for policy in policies)


def _obeyed(mesh: Mesh) -> Iterator[tuple[Service, DestinationRule | None]]:
    """Yield the services whose names are asked for, with the DestinationRule that each kind of client obeys."""
    for service in mesh.registry.services:
        if service.resolution is Resolution.DYNAMIC_DNS:
            for namespace, labels in mesh.clients:
                if service.visible(namespace):
                    yield service, mesh.policies.destination_rule_for(service, seen_from=namespace, labels=dict(labels))


def names_stay_readable(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Nothing hides the name that a request asks for, and nothing done to one name is done to all."""
    key = resources.key(resource)
    ports = {port for service, rule in _obeyed(mesh) if rule and resources.key(rule) == key for port in service.ports}
    if not ports:
        return
    if resource.spec.traffic_policy:
        yield from _readable_under(resource.spec.traffic_policy, ("spec", "trafficPolicy"), ports)
    for index, subset in enumerate(resource.spec.subsets):
        if subset.traffic_policy:
            yield from _readable_under(subset.traffic_policy, ("spec", "subsets", index, "trafficPolicy"), ports)


def _readable_under(policy: TrafficPolicy, path: Path, ports: Set[ServicePort]) -> Iterator[Finding]:
    if policy.proxy_protocol:
        yield _hidden((*path, "proxyProtocol"), "it would stand where the name is read")
    numbers = {setting.port.number for setting in policy.port_level_settings}
    yield from _part(policy, path, [port for port in ports if port.number not in numbers])
    for index, setting in enumerate(policy.port_level_settings):
        own = [port for port in ports if port.number == setting.port.number]
        yield from _part(setting, (*path, "portLevelSettings", index), own)


def _part(part: PolicyParts, path: Path, ports: Iterable[ServicePort]) -> Iterator[Finding]:
    if part.tls and part.tls.mode == "ISTIO_MUTUAL":
        yield _hidden((*path, "tls", "mode"), "the server name of the mesh's TLS is not the one that is asked for")
    elif part.tls and part.tls.mode in _BEGIN:
        if part.tls.sni:
            yield _hidden((*path, "tls", "sni"), "the server name is the one that a request asks for")
        if any(protocols.declared(port) in protocols.TLS for port in ports):
            yield _hidden((*path, "tls"), "at a port for 'TLS' clients begin TLS themselves")
    if part.outlier_detection:
        yield _hidden((*path, "outlierDetection"), "for the errors of one name all would be left alone")
    if http := part.connection_pool.http if part.connection_pool else None:
        pool = (*path, "connectionPool", "http")
        if http.h2_upgrade_policy == "UPGRADE":
            yield _hidden((*pool, "h2UpgradePolicy"), "names are read from HTTP/1.1")
        if http.use_client_protocol:
            yield _hidden((*pool, "useClientProtocol"), "names are read from HTTP/1.1")
        if http.max_requests_per_connection > 1:
            yield _hidden((*pool, "maxRequestsPerConnection"), "a connection is for one name, and carries one request")


def _hidden(path: Path, why: str) -> Finding:
    what = f"it is not supported by Clover for hosts with {_MODE!r}: {why}"
    return Finding(code="CLV4383", path=path, what=what, hint="leave it out, or name the host with 'resolution: DNS'")


def connections_say_a_name(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A connection to whatever name is asked for is one of TLS, which says the name, and is not shared with others."""
    for path, rule in rules_of(resource):
        alone = len(rule.route) == 1
        sharing = [(index, share) for index, share in enumerate(rule.route) if alone or share.weight > 0]
        for index, share in sharing:
            service = service_at(mesh.registry, share.destination.host, resource.metadata.namespace)
            if service is None or service.resolution is not Resolution.DYNAMIC_DNS:
                continue
            here = (*path, "route", index, "destination", "host")
            if "tcp" in path:
                what = f"a connection of 'tcp' says no name, and {service.host!r} is whatever name is asked for"
                yield Finding(code="CLV4384", path=here, what=what, hint="write a rule of 'tls'")
            elif len(sharing) > 1:
                what = f"{service.host!r} is whatever name is asked for, and cannot be one of several destinations"
                yield Finding(code="CLV4384", path=here, what=what, hint="let the rule have this destination alone")

"""
Do these resources mean something in this mesh? Asked of all of them together, before a proxy hears of any.

A proxy that is sent something it cannot take refuses the whole table or cluster, in words about its own
configuration. So whatever Envoy would refuse is found here, and said in the words of the resource; and so is what
Envoy would take and nobody can have meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh.istio import (
    attached_route_rules,
    attachment_rules,
    authorization_policies,
    claims,
    destination_rules,
    gateway_api_rules,
    gateway_rules,
    listener_tls_rules,
    peer_authentications,
    request_authentications,
    resources,
    routing_rules,
    service_entries,
    sidecar_rules,
    telemetries,
)
from clover.mesh.istio.analysis import connections, destinations, gateways, routes
from clover.mesh.istio.finding import Finding, Path, in_order, problem_from
from clover.mesh.istio.kinds.part import Part
from clover.mesh.istio.mesh import Mesh, mesh_from
from clover.mesh.istio.registry import Registry
from clover.mesh.istio.resources import Resource

_RULES: Mapping[str, tuple[Callable[[Any, Mesh], Iterator[Finding]], ...]] = {
    "VirtualService": (*routing_rules.RULES, *claims.RULES, *routes.RULES, *connections.RULES),
    "DestinationRule": (*destination_rules.RULES, *destinations.RULES),
    "Gateway": (*gateway_rules.RULES, *gateways.RULES, *connections.RULES),
    "ServiceEntry": service_entries.SERVICE_RULES,
    "WorkloadEntry": service_entries.WORKLOAD_RULES,
    "Sidecar": sidecar_rules.RULES,
    "PeerAuthentication": peer_authentications.RULES,
    "AuthorizationPolicy": authorization_policies.RULES,
    "RequestAuthentication": request_authentications.RULES,
    "Telemetry": telemetries.RULES,
    "Gateway.gateway.networking.k8s.io": (*gateway_api_rules.RULES, *listener_tls_rules.RULES),
    "HTTPRoute": (*attachment_rules.RULES, *attached_route_rules.HTTP_RULES),
    "GRPCRoute": (*attachment_rules.RULES, *attached_route_rules.GRPC_RULES),
}


def check(
    registry: Registry, found: Iterable[Resource], *, origins: Mapping[str, Document] | None = None
) -> tuple[Problem, ...]:
    """
    Return every problem of the resources: errors, which must stop them from being sent, and warnings.

    `origins` are the documents that resources were read from, by `resources.key`: with them a problem tells its line.
    """
    everything = tuple(found)
    mesh = mesh_from(registry, everything)
    return tuple(
        problem_from(finding, resource, origins or {})
        for resource in everything
        for finding in in_order(_findings(resource, mesh), (origins or {}).get(resources.key(resource)))
    )


def _findings(resource: Resource, mesh: Mesh) -> Iterator[Finding]:
    yield from _control_characters(resource.spec, ("spec",))
    for rule in _RULES.get(resources.full_kind(type(resource)), ()):
        yield from rule(resource, mesh)


def _control_characters(value: Any, path: Path) -> Iterator[Finding]:
    """No text of a policy spans lines, but the body of a direct response and the like."""
    match value:
        case str():
            if any(ord(character) < 32 or ord(character) == 127 for character in value):
                what = "the text contains a line break or another control character"
                hint = "a block ('|') of YAML ends with a line break; write the text in one line"
                yield Finding(code="CLV4104", path=path, what=what, hint=hint)
        case Part():
            for name, field in type(value).model_fields.items():
                if name in value.model_fields_set and name not in value.multiline:
                    yield from _control_characters(getattr(value, name), (*path, field.alias or name))
        case dict():
            for key, item in value.items():
                yield from _control_characters(key, path)
                yield from _control_characters(item, (*path, key))
        case tuple():
            for index, item in enumerate(value):
                yield from _control_characters(item, (*path, index))

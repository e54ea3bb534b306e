"""All kinds of resources that Clover carries out: the one list of what is supported.

A field that is in no model is refused. Those of Istio's that Clover knows and does not carry out stand in `unsupported`
of their model, so that the message can say so; docs/reference/istio.md lists both. The models check the form of
single values (types, ranges, what excludes what); what needs a look at the mesh is in `validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from clover.mesh.istio.kinds.authorization_policy import AuthorizationPolicy
from clover.mesh.istio.kinds.destination_rule import DestinationRule
from clover.mesh.istio.kinds.gateway import Gateway
from clover.mesh.istio.kinds.grpc_route import GRPCRoute
from clover.mesh.istio.kinds.http_route import HTTPRoute
from clover.mesh.istio.kinds.kubernetes_gateway import KubernetesGateway
from clover.mesh.istio.kinds.part import Resource
from clover.mesh.istio.kinds.peer_authentication import PeerAuthentication
from clover.mesh.istio.kinds.reference_grant import ReferenceGrant
from clover.mesh.istio.kinds.request_authentication import RequestAuthentication
from clover.mesh.istio.kinds.service_entry import ServiceEntry, WorkloadEntry
from clover.mesh.istio.kinds.sidecar import Sidecar
from clover.mesh.istio.kinds.telemetry import Telemetry
from clover.mesh.istio.kinds.virtual_service import VirtualService

__all__ = [
    "KINDS",
    "AuthorizationPolicy",
    "DestinationRule",
    "GRPCRoute",
    "Gateway",
    "HTTPRoute",
    "KubernetesGateway",
    "PeerAuthentication",
    "ReferenceGrant",
    "RequestAuthentication",
    "Resource",
    "ServiceEntry",
    "Sidecar",
    "Telemetry",
    "VirtualService",
    "WorkloadEntry",
    "full_kind",
    "key",
    "model_of",
]

_MODELS: tuple[type[Resource], ...] = (
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    Sidecar,
    PeerAuthentication,
    AuthorizationPolicy,
    RequestAuthentication,
    Telemetry,
    KubernetesGateway,
    HTTPRoute,
    GRPCRoute,
    ReferenceGrant,
)


@cache
def full_kind(model: type[Resource]) -> str:
    """Return what a kind is called where only one may have the name: `Gateway.gateway.networking.k8s.io`."""
    kind = str(model.model_fields["kind"].default)
    return f"{kind}.{model.api_versions[0].partition('/')[0]}" if model.qualified else kind


KINDS: Mapping[str, type[Resource]] = {full_kind(model): model for model in _MODELS}
"""Full kind → model."""


def model_of(kind: str, api_version: str) -> type[Resource] | None:
    """Return the model of a document's kind; of two kinds with one name, the one whose group it says."""
    found = [model for model in _MODELS if model.model_fields["kind"].default == kind]
    group = api_version.partition("/")[0]
    same = [model for model in found if model.api_versions[0].partition("/")[0] == group]
    return next(iter(same or found), None)


def key(resource: Resource) -> str:
    """Return what identifies a resource, and names it in messages: `VirtualService/default/http-lb`."""
    return f"{full_kind(type(resource))}/{resource.metadata.namespace}/{resource.metadata.name}"

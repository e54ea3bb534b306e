"""Names of kinds of resources as people type them: any case, plural, kubectl's short names, with a group or without."""

from __future__ import annotations

from collections.abc import Sequence

from clover.errors import DocumentError, Problem

_NETWORKING, _SECURITY, _TELEMETRY = "networking.istio.io", "security.istio.io", "telemetry.istio.io"
_GATEWAY_API = "gateway.networking.k8s.io"

KINDS = {
    "VirtualService": (_NETWORKING, "virtualservices", "vs"),
    "DestinationRule": (_NETWORKING, "destinationrules", "dr"),
    "Gateway": (_NETWORKING, "gateways", "gw"),
    "ServiceEntry": (_NETWORKING, "serviceentries", "se"),
    "WorkloadEntry": (_NETWORKING, "workloadentries", "we"),
    "Sidecar": (_NETWORKING, "sidecars", "sc"),
    "PeerAuthentication": (_SECURITY, "peerauthentications", "pa"),
    "AuthorizationPolicy": (_SECURITY, "authorizationpolicies", "ap"),
    "RequestAuthentication": (_SECURITY, "requestauthentications", "ra"),
    "Telemetry": (_TELEMETRY, "telemetries", "telemetry"),
    f"Gateway.{_GATEWAY_API}": (_GATEWAY_API, "gateways", "gtw"),
    "HTTPRoute": (_GATEWAY_API, "httproutes", "httproute"),
    "GRPCRoute": (_GATEWAY_API, "grpcroutes", "grpcroute"),
    "ReferenceGrant": (_GATEWAY_API, "referencegrants", "refgrant"),
}
"""Kind → its group, its plural and its short name. A kind that is not here goes to the node as it was typed."""


def kind_named(word: str) -> str:
    """Return the kind that a word means: `vs`, `virtualservices`, `gateways.gateway.networking.k8s.io`."""
    wanted, _, group = word.lower().partition(".")
    for kind, (known, *others) in KINDS.items():
        if wanted in (kind.lower().partition(".")[0], *others) and (not group or f".{group}".endswith(f".{known}")):
            return kind
    return word


def resource_named(*words: str) -> tuple[str, str]:
    """
    Return kind and name of `KIND`, `KIND/NAME` or `KIND NAME`; the name is empty when only a kind is given.

    Raises DocumentError when there is more than that.
    """
    kind, _, name = "/".join(filter(None, words)).partition("/")
    if "/" in name:
        raise DocumentError(_not_one(words))
    return kind_named(kind), name


def one_resource_named(*words: str) -> tuple[str, str]:
    """Return kind and name of `KIND/NAME` or `KIND NAME`, both given. Raises DocumentError."""
    kind, name = resource_named(*words)
    if not kind or not name:
        raise DocumentError(_not_one(words))
    return kind, name


def _not_one(words: Sequence[str]) -> Problem:
    return Problem(
        code="CLV5206",
        where="KIND/NAME",
        what=f"the resource is {' '.join(words).strip()!r}, expected a kind and a name",
        hint="for example: virtualservice/http-lb",
    )


def label(kind: str, name: str) -> str:
    """Return a resource as kubectl prints it: `virtualservice/http-lb`."""
    return f"{kind.lower()}/{name}"


def shown(kind: str, api_version: str) -> str:
    """Return what a document's kind is called where another kind has the same name, too."""
    qualified = f"{kind}.{api_version.partition('/')[0]}"
    return qualified if qualified in KINDS else kind

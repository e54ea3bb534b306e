"""Names of Istio kinds as people type them: any case, plural, kubectl's short names."""

from __future__ import annotations

from clover.errors import DocumentError, Problem

KINDS = {
    "VirtualService": ("virtualservices", "vs"),
    "DestinationRule": ("destinationrules", "dr"),
    "Gateway": ("gateways", "gw"),
    "ServiceEntry": ("serviceentries", "se"),
    "WorkloadEntry": ("workloadentries", "we"),
    "Sidecar": ("sidecars",),
    "PeerAuthentication": ("peerauthentications", "pa"),
    "RequestAuthentication": ("requestauthentications", "ra"),
    "AuthorizationPolicy": ("authorizationpolicies", "ap"),
    "Telemetry": ("telemetries", "telemetry"),
}
"""Kind → its plural and its short names. A kind that is not here goes to the node as it was typed."""


def kind_named(word: str) -> str:
    """Return the kind that a word means: `vs`, `virtualservices`, `VirtualService.networking.istio.io`."""
    wanted = word.lower().partition(".")[0]
    for kind, others in KINDS.items():
        if wanted in (kind.lower(), *others):
            return kind
    return word


def resource_named(text: str) -> tuple[str, str]:
    """Return kind and name of `KIND/NAME`; the name is empty when only a kind is given."""
    kind, _, name = text.partition("/")
    return kind_named(kind), name


def one_resource_named(text: str) -> tuple[str, str]:
    """Return kind and name of `KIND/NAME`, both given. Raises DocumentError."""
    kind, name = resource_named(text)
    if not kind or not name or "/" in name:
        raise DocumentError(
            Problem(
                code="CLV5206",
                where="KIND/NAME",
                what=f"the resource is {text!r}, expected a kind and a name",
                hint="for example: virtualservice/http-lb",
            )
        )
    return kind, name


def label(kind: str, name: str) -> str:
    """Return a resource as kubectl prints it: `virtualservice/http-lb`."""
    return f"{kind.lower()}/{name}"

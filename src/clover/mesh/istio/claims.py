"""Matches on what a token says: `@request.auth.claims.sub` or `@request.auth.claims[group][id]`, not a header."""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.kinds.virtual_service import HTTPMatchRequest
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import MESH, bound_to, gateway_names
from clover.mesh.istio.resources import VirtualService
from clover.mesh.istio.selection import is_for

_AUTH = "@request.auth."
_CLAIMS = "@request.auth.claims"


def asks_for_claim(name: str) -> bool:
    """Tell whether the name in a match of headers means no header but a token."""
    return name.lower().startswith(_AUTH)


def claim_path(name: str) -> tuple[str, ...]:
    """Return the names of nested claims, outermost first; empty: the name means no claim."""
    rest = name[len(_CLAIMS) :] if name.lower().startswith(_CLAIMS) else ""
    if rest.startswith("."):
        path = tuple(rest[1:].split("."))
    elif rest.startswith("[") and rest.endswith("]"):
        path = tuple(rest[1:-1].split("]["))
    else:
        return ()
    return path if all(path) else ()


def claims_can_be_known(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A claim decides a route where a token is read before the route is chosen: at a gateway with a policy for it."""
    for index, rule in enumerate(resource.spec.http):
        for number, match in enumerate(rule.match):
            for field, tests in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
                for name in filter(asks_for_claim, tests):
                    yield from _claim(
                        name, match, resource, mesh, path=("spec", "http", index, "match", number, field, name)
                    )


RULES = (claims_can_be_known,)


def _claim(
    name: str, match: HTTPMatchRequest, resource: VirtualService, mesh: Mesh, *, path: Path
) -> Iterator[Finding]:
    if not claim_path(name):
        what = f"{name[:80]!r} names no claim"
        hint = "write '@request.auth.claims.group', or '@request.auth.claims[group][id]' for nested claims"
        yield Finding(code="CLV4275", path=path, what=what, hint=hint)
        return
    places = gateway_names(match.gateways, resource.metadata.namespace) or bound_to(resource)
    if MESH in places:
        alone = set(places) == {MESH}
        yield Finding(
            code="CLV4275",
            path=path,
            what="sidecars choose a route before they know of a token; the match never sees a claim there",
            hint="bind the VirtualService to a gateway"
            if alone
            else "say 'gateways' in the match, without 'mesh', and write another rule for the mesh",
            severity="error" if alone else "warning",
        )
    elif not _tokens_are_read(mesh):
        what = "no RequestAuthentication is for a gateway, so that no claim is ever known there"
        hint = "apply one with 'selector: {matchLabels: {istio: ingressgateway}}'"
        yield Finding(code="CLV4275", path=path, what=what, hint=hint, severity="warning", istio="IST0149")


def _tokens_are_read(mesh: Mesh) -> bool:
    return any(
        policy.spec.jwt_rules
        and is_for(
            policy,
            workload,
            mesh.registry,
            mesh.policies,
            selector=policy.spec.selector,
            targets=policy.spec.targets(),
        )
        for policy in mesh.policies.request_authentications
        for workload in mesh.registry.workloads
        if workload.gateway
    )

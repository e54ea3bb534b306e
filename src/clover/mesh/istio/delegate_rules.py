"""What VirtualServices that delegate, and those with a neighbour at a gateway, must satisfy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clover.mesh.istio import resources
from clover.mesh.istio.delegates import delegate_name, merged_matches
from clover.mesh.istio.finding import Finding, Path, nearest
from clover.mesh.istio.mesh import MAX_RULES_OF_ALL, Mesh
from clover.mesh.istio.policies import visible
from clover.mesh.istio.resources import VirtualService

Rule = Callable[[VirtualService, Mesh], Iterator[Finding]]
MAX_RULES = 5_000
"""Matches of one VirtualService."""


def delegations_lead_somewhere(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A rule delegates to a VirtualService without hosts, which itself delegates nothing."""
    if resource.is_delegate and not mesh.roots_of(resource):
        what = "there are no 'hosts', and no VirtualService delegates to it, so that its rules are never asked"
        yield Finding(code="CLV4333", path=("spec", "http"), what=what, severity="warning")
    for index, rule in enumerate(resource.spec.http):
        path: Path = ("spec", "http", index, "delegate")
        if not (name := delegate_name(rule, resource)):
            continue
        delegate = mesh.policies.delegates.get(name)
        if resource.is_delegate:
            what = "a delegate cannot delegate again"
            yield Finding(code="CLV4333", path=path, what=what, hint="let the first VirtualService name both")
        elif delegate is None:
            yield Finding(
                code="CLV4333", path=path, what=_absent(name, mesh), hint=nearest(name, mesh.policies.delegates)
            )
        elif not visible(delegate, resource.metadata.namespace):
            what = f"VirtualService {name!r} is not exported to the namespace {resource.metadata.namespace!r}"
            yield Finding(code="CLV4333", path=path, what=what, hint="change its 'exportTo'")


def _absent(name: str, mesh: Mesh) -> str:
    for other in mesh.policies.virtual_services:
        if name == f"{other.metadata.namespace}/{other.metadata.name}":
            return f"VirtualService {name!r} has 'hosts', and only one without can be delegated to"
    return f"there is no VirtualService {name!r}"


def delegates_take_a_part(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Each condition of a delegate's rule lies within one of the rule that delegates; Istio drops any other rule."""
    for root in mesh.roots_of(resource) if resource.is_delegate else ():
        for number, rule in enumerate(root.spec.http):
            if mesh.policies.delegates.get(delegate_name(rule, root)) != resource:
                continue
            for index, inner in enumerate(resource.spec.http):
                if merged_matches(root, rule, resource, inner) is None:
                    yield Finding(
                        code="CLV4334",
                        path=("spec", "http", index, "match"),
                        what=f"a condition is no part of those of rule {number} of VirtualService "
                        f"'{root.metadata.namespace}/{root.metadata.name}', which delegates to it",
                        hint="repeat what that rule asks for, more narrowly: a longer prefix, or the same value",
                    )


def neighbours_do_not_overlap(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Of several VirtualServices for one host of a gateway none takes the requests of another."""
    told: set[str] = set()
    for index, owner, place in mesh.hidden.get(resources.key(resource), ()):
        name = owner.partition("/")[2]
        if name in told:
            continue
        told.add(name)
        # Rules of a delegate stand elsewhere; then the whole is meant.
        path: Path = ("spec", "http", index) if index < len(resource.spec.http) else ("spec", "http")
        yield Finding(
            code="CLV4335",
            path=path,
            what=f"VirtualService {name!r} serves {place.domain!r} on the gateway's port {place.port} too, and takes "
            "every request that a match of the rule takes",
            hint="Istio puts the rules of both together in no certain order; let one of them match less",
            severity="warning",
        )


def rules_are_few_enough(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A proxy is told a number of rules that it, and whoever checks them, can look through in seconds."""
    count, total = mesh.sizes[resources.key(resource)]
    if count > MAX_RULES:
        what = f"there are {count} matches of rules, delegates included; at most {MAX_RULES} are allowed"
        yield Finding(code="CLV4336", path=("spec", "http"), what=what, hint="spread them over several hosts")
    elif total > MAX_RULES_OF_ALL:
        what = f"with it there are {total} matches in all VirtualServices, at most {MAX_RULES_OF_ALL} are allowed"
        yield Finding(code="CLV4336", path=("spec", "http"), what=what)


def where_few(rule: Rule) -> Rule:
    """Ask a question only of a VirtualService that is not refused for its size: the answer would take a while."""

    def few(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
        if not any(rules_are_few_enough(resource, mesh)):
            yield from rule(resource, mesh)

    return few


RULES = (delegations_lead_somewhere, delegates_take_a_part, neighbours_do_not_overlap)

"""What a PeerAuthentication must satisfy: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio import resources
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.peer_modes import chosen, scope_of
from clover.mesh.istio.registry import Workload
from clover.mesh.istio.resources import PeerAuthentication


def somebody_is_chosen(resource: PeerAuthentication, mesh: Mesh) -> Iterator[Finding]:
    """A policy is for workloads that there are."""
    if scope_of(resource, mesh.registry) == "nothing":
        yield Finding(
            code="CLV4231",
            path=("spec", "selector"),
            what="a policy with labels says nothing in the root namespace",
            hint="put it into the namespace of the workloads",
            severity="warning",
        )
    elif (
        mesh.registry.tells_workloads and scope_of(resource, mesh.registry) != "mesh" and not _workloads(resource, mesh)
    ):
        choosing: Path = ("spec", "selector") if resource.spec.chooses else ("metadata", "namespace")
        yield Finding(
            code="CLV4231",
            path=choosing,
            what="no workload is chosen; the policy is for nobody",
            hint=f"workloads have the labels 'app' and 'version'; the namespaces are {', '.join(mesh.namespaces())}",
            severity="warning",
            istio="IST0127",
        )


def nobody_is_chosen_twice(resource: PeerAuthentication, mesh: Mesh) -> Iterator[Finding]:
    """Within one scope, one policy decides about a workload; a second one is passed over."""
    scope = scope_of(resource, mesh.registry)
    for other in mesh.policies.peer_authentications:
        if resources.key(other) >= resources.key(resource):
            return
        if scope != scope_of(other, mesh.registry) or not _share(resource, other, scope, mesh):
            continue
        name = resources.key(other).partition("/")[2]
        yield Finding(
            code="CLV4230",
            path=("spec", "selector") if resource.spec.chooses else ("spec",),
            what=f"PeerAuthentication {name!r} is for the same {scope}, and decides; this one does not",
            hint="on Istio the older one decides; put both into one",
            severity="warning",
        )
        return


def ports_belong_to_workloads(resource: PeerAuthentication, mesh: Mesh) -> Iterator[Finding]:
    """A port that nothing serves is protected from nobody."""
    workloads = _workloads(resource, mesh)
    served = {
        port.target
        for service in mesh.registry.services
        for workload in workloads
        if workload.serves(service)
        for port in service.ports
    }
    for port in resource.spec.port_level_mtls:
        if workloads and int(port) not in served and mesh.registry.complete:
            shown = ", ".join(map(str, sorted(served))) or "none"
            yield Finding(
                code="CLV4231",
                path=("spec", "portLevelMtls", port),
                what=f"no service leads to port {port} of the chosen workloads; they serve {shown}",
                severity="warning",
            )


def _workloads(resource: PeerAuthentication, mesh: Mesh) -> tuple[Workload, ...]:
    return tuple(
        workload
        for workload in mesh.registry.workloads
        if workload.namespace == resource.metadata.namespace and chosen(resource, workload)
    )


def _share(one: PeerAuthentication, other: PeerAuthentication, scope: str, mesh: Mesh) -> bool:
    """Tell whether two policies of one scope are for some workload in common."""
    if scope == "mesh":
        return True
    if one.metadata.namespace != other.metadata.namespace or scope == "nothing":
        return False
    return scope == "namespace" or any(chosen(other, workload) for workload in _workloads(one, mesh))


RULES = (somebody_is_chosen, nobody_is_chosen_twice, ports_belong_to_workloads)

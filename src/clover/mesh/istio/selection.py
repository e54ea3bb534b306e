"""Which workloads a policy is for: by namespace, by labels, or by the name of a Gateway or a Service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.mesh.istio import hosts
from clover.mesh.istio.attachments import service_named
from clover.mesh.istio.destination_checks import unknown_host
from clover.mesh.istio.finding import Finding
from clover.mesh.istio.kinds.part import MatchLabels, TargetRef
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import Policies, labels_of
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.resources import Resource

GATEWAY_GROUP = "gateway.networking.k8s.io"


def is_for(
    policy: Resource,
    workload: Workload,
    registry: Registry,
    policies: Policies,
    *,
    selector: MatchLabels | None,
    targets: Iterable[TargetRef] = (),
) -> bool:
    """
    Tell whether a policy is for a workload, by what its spec says.

    A policy of the root namespace is for workloads of every namespace, any other for those of its own.
    """
    namespace = policy.metadata.namespace
    if namespace not in (registry.config.root_namespace, workload.namespace):
        return False
    if refs := tuple(targets):
        return any(_is(ref, workload, registry, policies, namespace=namespace) for ref in refs)
    return selector is None or selector.match_labels.items() <= labels_of(workload).items()


def ports_named(
    targets: Iterable[TargetRef], workload: Workload, registry: Registry, *, namespace: str
) -> frozenset[int]:
    """Return the workload's ports that belong to services which a policy names; empty: it names none."""
    services = (service_named(ref.name, namespace, registry) for ref in targets if ref.kind == "Service")
    return frozenset(
        port.target for service in services if service and workload.serves(service) for port in service.ports
    )


def gateways_named(targets: Iterable[TargetRef], *, namespace: str) -> frozenset[str]:
    """Return the Gateways that a policy names, as `resources.key` does; empty: it names none."""
    return frozenset(f"Gateway.{GATEWAY_GROUP}/{namespace}/{ref.name}" for ref in targets if ref.kind == "Gateway")


def _is(ref: TargetRef, workload: Workload, registry: Registry, policies: Policies, *, namespace: str) -> bool:
    match (ref.group, ref.kind):
        case ("" | "core", "Service"):
            service = service_named(ref.name, namespace, registry)
            return service is not None and workload.serves(service)
        case (group, "Gateway") if group == GATEWAY_GROUP:
            return workload.gateway and _gateway_exists(ref, policies, namespace)
    return False


def _gateway_exists(ref: TargetRef, policies: Policies, namespace: str) -> bool:
    return any(
        (known.metadata.namespace, known.metadata.name) == (namespace, ref.name)
        for known in policies.kubernetes_gateways
    )


def chooses_somebody(
    policy: Resource,
    mesh: Mesh,
    *,
    selector: MatchLabels | None,
    targets: Iterable[TargetRef] = (),
    code: str,
    istio: str = "IST0127",
) -> Iterator[Finding]:
    """A policy for nobody protects nobody: one that names what is not there is refused, an empty choice is told."""
    namespace, refs = policy.metadata.namespace, tuple(targets)
    for index, ref in enumerate(refs):
        path = ("spec", "targetRefs", index) if "targetRefs" in _given(policy) else ("spec", "targetRef")
        yield from _target(ref, path, mesh, namespace=namespace, code=code)
    if refs or not mesh.registry.tells_workloads:
        return
    if any(
        is_for(policy, workload, mesh.registry, mesh.policies, selector=selector)
        for workload in mesh.registry.workloads
    ):
        return
    yield Finding(
        code=code,
        path=("spec", "selector") if selector is not None else ("metadata", "namespace"),
        what="no workload is chosen; the policy is for nobody",
        hint=f"workloads have the labels 'app' and 'version'; the namespaces are {', '.join(mesh.namespaces())}",
        severity="warning",
        istio=istio,
    )


def _given(policy: Resource) -> set[str]:
    fields = type(policy.spec).model_fields
    return {fields[name].alias or name for name in policy.spec.model_fields_set}


def _target(ref: TargetRef, path: tuple[str | int, ...], mesh: Mesh, *, namespace: str, code: str) -> Iterator[Finding]:
    match (ref.group, ref.kind):
        case ("" | "core", "Service"):
            host = hosts.full_host(ref.name, namespace)
            if not mesh.tells_services_of(host):
                yield unknown_host(ref.name, (*path, "name"), mesh, namespace=namespace)
                return
            if service_named(ref.name, namespace, mesh.registry) is None:
                yield Finding(
                    code=code,
                    path=(*path, "name"),
                    what=f"there is no service {ref.name!r} in the namespace {namespace!r}",
                )
                return
            what = "sidecars of Istio leave a policy for a Service to waypoints; Clover's sidecars obey it"
            hint = "choose the workloads by 'selector', which means the same on both"
            yield Finding(code=code, path=path, what=what, hint=hint, severity="warning")
        case (group, "Gateway") if group == GATEWAY_GROUP:
            if not _gateway_exists(ref, mesh.policies, namespace):
                what = f"there is no Gateway {ref.name!r} of the Gateway API in the namespace {namespace!r}"
                hint = "Istio's own Gateways are chosen by 'selector: {matchLabels: {istio: ingressgateway}}'"
                yield Finding(code=code, path=(*path, "name"), what=what, hint=hint)
        case (group, kind):
            what = f"a policy for a {kind!r} of the group {group!r} is for a waypoint, which Clover does not have"
            hint = f"name a 'Service' of the group '' or a 'Gateway' of the group {GATEWAY_GROUP!r}"
            yield Finding(code=code, path=path, what=what, hint=hint)

"""What a Telemetry must satisfy: somebody who reports, what proxies can do, and one policy for a namespace."""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio import resources, selection
from clover.mesh.istio.cel import cel_problem
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.headers import is_header_name, value_problem
from clover.mesh.istio.kinds.telemetry import CustomTag
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.resources import Telemetry

_ONE_PLACE = "Clover keeps all reports in its own store; the providers' names say nothing here"


def is_for_somebody(resource: Telemetry, mesh: Mesh) -> Iterator[Finding]:
    """A Telemetry is for the proxies that it chooses."""
    spec = resource.spec
    if not spec.is_for_a_namespace and resource.metadata.namespace == mesh.registry.config.root_namespace:
        what = "a Telemetry that chooses workloads is for those of its own namespace, also in the root namespace"
        hint = "apply it in the namespace of the workloads"
        yield Finding(code="CLV4273", path=("spec",), what=what, hint=hint, severity="warning")
    elif not spec.is_for_a_namespace or resource.metadata.namespace != mesh.registry.config.root_namespace:
        yield from selection.chooses_somebody(
            resource, mesh, selector=spec.selector, targets=spec.targets(), code="CLV4273", istio="IST0101"
        )


def namespaces_have_one(resource: Telemetry, mesh: Mesh) -> Iterator[Finding]:
    """Of two that are for a whole namespace, Istio obeys the older one and says nothing of the other."""
    if not resource.spec.is_for_a_namespace:
        return
    mine = mesh.order[resources.key(resource)]
    for other in mesh.policies.telemetries:
        name = resources.key(other)
        same = other.spec.is_for_a_namespace and other.metadata.namespace == resource.metadata.namespace
        if same and mesh.order[name] < mine:
            what = f"the whole namespace {resource.metadata.namespace!r} already has {name!r}"
            hint = "put the entries into one of them, or choose workloads by 'selector'"
            yield Finding(code="CLV4277", path=("metadata", "name"), what=what, hint=hint, istio="IST0160")
            return


def workloads_have_one(resource: Telemetry, mesh: Mesh) -> Iterator[Finding]:
    """Of two that choose a workload, Istio obeys the older one; here the later says what it has to say after it."""
    chosen = _chosen(resource, mesh)
    mine = mesh.order[resources.key(resource)]
    for other in mesh.policies.telemetries:
        name = resources.key(other)
        if mesh.order[name] < mine and (both := sorted(chosen & _chosen(other, mesh))):
            what = f"{both[0]!r} is chosen by {name!r} too; both are obeyed here, on Istio the older one alone"
            hint = "put the entries into one of them, or choose other workloads"
            path: Path = ("spec", "selector" if resource.spec.selector else "targetRefs")
            yield Finding(code="CLV4395", path=path, what=what, hint=hint, severity="warning", istio="IST0159")
            return


def _chosen(policy: Telemetry, mesh: Mesh) -> set[str]:
    """Return the workloads that a Telemetry chooses one by one, in its own namespace; none where it is for all."""
    spec, namespace = policy.spec, policy.metadata.namespace
    return {
        workload.name
        for workload in (() if spec.is_for_a_namespace else mesh.registry.workloads)
        if workload.namespace == namespace
        and selection.is_for(
            policy, workload, mesh.registry, mesh.policies, selector=spec.selector, targets=spec.targets()
        )
    }


def proxies_can_do_it(resource: Telemetry, mesh: Mesh) -> Iterator[Finding]:
    """Envoy refuses a whole listener for one condition or tag that it cannot read."""
    for index, log in enumerate(resource.spec.access_logging):
        if log.filter and (problem := cel_problem(log.filter.expression)):
            path: Path = ("spec", "accessLogging", index, "filter", "expression")
            hint = "write a condition such as 'response.code >= 500' or \"request.headers['x-user'] == 'test'\""
            yield Finding(code="CLV4278", path=path, what=problem, hint=hint)
    for index, trace in enumerate(resource.spec.tracing):
        for name, tag in (trace.custom_tags or {}).items():
            yield from _tag(tag, ("spec", "tracing", index, "customTags", name))


def nothing_is_lost_in_silence(resource: Telemetry, mesh: Mesh) -> Iterator[Finding]:
    """What Clover does in another way than Istio is told."""
    if resource.spec.metrics:
        what = "the proxies have Envoy's own metrics, and no filter that makes Istio's"
        hint = "leave it out; rates, failures and latencies are made of the spans"
        yield Finding(code="CLV4103", path=("spec", "metrics"), what=what, hint=hint)
    for field, entries in (("tracing", resource.spec.tracing), ("accessLogging", resource.spec.access_logging)):
        names = dict.fromkeys(provider.name for entry in entries for provider in entry.providers)
        path: Path = ("spec", field)
        if len(names) > 1:
            what = f"there are several providers, {', '.join(map(repr, names))}, and Clover has one place for reports"
            hint = "write one entry for one provider"
            yield Finding(code="CLV4279", path=path, what=what, hint=hint)
        elif names:
            yield Finding(code="CLV4279", path=path, what=_ONE_PLACE, severity="warning")
    for index, trace in enumerate(resource.spec.tracing):
        if trace.use_request_id_for_trace_sampling is not None:
            what = "whether a trace is sampled depends on its trace id, so that all proxies decide alike"
            path = ("spec", "tracing", index, "useRequestIdForTraceSampling")
            yield Finding(code="CLV4220", path=path, what=what, severity="warning")


RULES = (is_for_somebody, namespaces_have_one, workloads_have_one, proxies_can_do_it, nothing_is_lost_in_silence)


def _tag(tag: CustomTag, path: Path) -> Iterator[Finding]:
    if tag.header and not is_header_name(tag.header.name):
        what = f"{tag.header.name[:80]!r} is not a header name"
        yield Finding(code="CLV4212", path=(*path, "header", "name"), what=what)
    if tag.formatter and (problem := value_problem(tag.formatter.value)):
        yield Finding(code="CLV4212", path=(*path, "formatter", "value"), what=problem)

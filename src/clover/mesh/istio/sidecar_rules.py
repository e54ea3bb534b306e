"""What a Sidecar must satisfy: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

from clover.mesh.istio import protocols, resources
from clover.mesh.istio.destination_checks import unknown_host
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.kinds.service_entry import LONGEST_SOCKET, UNIX
from clover.mesh.istio.kinds.sidecar import IstioEgressListener, IstioIngressListener, SidecarPort
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import labels_of, service_at
from clover.mesh.istio.registry import Workload
from clover.mesh.istio.resources import Sidecar
from clover.mesh.istio.sidecars import NO_NAMESPACE, imports, ports_of

_HOST = re.compile(
    r"(?:\*|\.|~|[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)/(?:\*|(?:\*[-.]?)?[A-Za-z0-9_][-A-Za-z0-9_.]{0,250})"
)
_ENDPOINT = re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0):[0-9]{1,5}")


def somebody_is_chosen_once(resource: Sidecar, mesh: Mesh) -> Iterator[Finding]:
    """A Sidecar is for some workloads, and they have no other of the same rank."""
    selector = resource.spec.workload_selector
    path: Path = ("spec", "workloadSelector")
    if selector and resource.metadata.namespace == mesh.registry.config.root_namespace:
        what = "a Sidecar of the root namespace is for all namespaces, and chooses no workloads"
        yield Finding(code="CLV4319", path=path, what=what, hint="put it into the namespace of the workloads")
        return
    chosen = _chosen(resource, mesh)
    if not chosen and (mesh.registry.complete or (selector and mesh.registry.tells_workloads)):
        what = "no workload is chosen, so the Sidecar is for nobody"
        where = path if selector else ("spec",)
        yield Finding(code="CLV4318", path=where, what=what, severity="warning", istio="IST0101" if selector else "")
    for other in mesh.policies.sidecars:
        same_rank = (other.spec.workload_selector is None) == (selector is None)
        earlier = mesh.order[resources.key(other)] < mesh.order[resources.key(resource)]
        if other.metadata.namespace != resource.metadata.namespace or not (same_rank and earlier):
            continue
        names = sorted({one.name for one in chosen} & {one.name for one in _chosen(other, mesh)})
        # Who is chosen by the same words is the same, whether anybody is known or not.
        if names or other.spec.workload_selector == selector:
            owner = resources.key(other).partition("/")[2]
            whoever = repr(names[0]) if names else "whoever it chooses"
            yield Finding(
                code="CLV4319",
                path=path if selector else ("spec",),
                what=f"{whoever} already obeys the Sidecar {owner!r}",
                hint=f"put the settings into {owner!r}, or choose other workloads",
                istio="IST0110" if selector else "IST0111",
            )
            return


def _chosen(resource: Sidecar, mesh: Mesh) -> tuple[Workload, ...]:
    everywhere = resource.metadata.namespace == mesh.registry.config.root_namespace
    selector = resource.spec.workload_selector
    return tuple(
        workload
        for workload in mesh.registry.workloads
        if not workload.gateway
        and (everywhere or workload.namespace == resource.metadata.namespace)
        and (selector is None or selector.labels.items() <= labels_of(workload).items())
    )


def egress_names_services(resource: Sidecar, mesh: Mesh) -> Iterator[Finding]:
    """What an egress listener lets a function dial is there."""
    seen: Counter[tuple[str, int]] = Counter()
    for index, listener in enumerate(resource.spec.egress):
        path: Path = ("spec", "egress", index)
        yield from _listener(listener.port, listener.bind, listener.capture_mode, path)
        if listener.port is None and (listener.bind or index < len(resource.spec.egress) - 1):
            what = "a listener without 'port' is for all other ports: it is the last one, and has no 'bind'"
            yield Finding(code="CLV4319", path=path, what=what)
        seen[listener.bind, listener.port.number if listener.port else 0] += 1
        if listener.port and seen[listener.bind, listener.port.number] > 1:
            yield Finding(
                code="CLV4319", path=(*path, "port"), what=f"the port {listener.port.number} is written twice"
            )
        yield from _hosts(resource, listener, path, mesh)


def _hosts(resource: Sidecar, listener: IstioEgressListener, path: Path, mesh: Mesh) -> Iterator[Finding]:
    own = resource.metadata.namespace
    for number, host in enumerate(listener.hosts):
        here: Path = (*path, "hosts", number)
        if not _HOST.fullmatch(host):
            what = f"{cut(host)!r} is not a namespace and a host, as in './*' or 'default/lb.default.svc.cluster.local'"
            yield Finding(code="CLV4319", path=here, what=what)
            continue
        namespace, _, pattern = host.partition("/")
        if namespace == NO_NAMESPACE or not mesh.registry.complete:
            continue
        alone = listener.model_copy(update={"hosts": (host,)})
        found = [service for service in mesh.registry.services if imports(alone, service, own)]
        if not found and pattern != "*":
            what = f"no service is {cut(host)!r}"
            near = nearest(pattern, mesh.known_hosts())
            yield Finding(code="CLV4318", path=here, what=what, hint=near, severity="warning")
        elif listener.port and not any(True for service in found for _ in ports_of(listener, service)):
            what = f"no service of {cut(host)!r} has a port {listener.port.number}, so none is dialled there"
            hint = "leave 'port' out to let through the ports that they have"
            yield Finding(code="CLV4318", path=here, what=what, hint=hint, severity="warning")


def ingress_is_told_apart(resource: Sidecar, mesh: Mesh) -> Iterator[Finding]:
    """Each port takes traffic once, for a place where the function can be."""
    numbers = Counter(listener.port.number for listener in resource.spec.ingress)
    for index, listener in enumerate(resource.spec.ingress):
        path: Path = ("spec", "ingress", index)
        yield from _listener(listener.port, listener.bind, listener.capture_mode, path)
        if listener.bind and listener.capture_mode != "NONE":
            what = "a sidecar takes what was sent to any address of its workload, so 'bind' says nothing"
            yield Finding(code="CLV4103", path=(*path, "bind"), what=what)
        if numbers[listener.port.number] > 1:
            what = f"the port {listener.port.number} is written {numbers[listener.port.number]} times"
            yield Finding(code="CLV4319", path=(*path, "port", "number"), what=what)
        yield from _endpoint(listener, path)
    if resource.spec.ingress and resource.spec.workload_selector is None:
        what = "it is for every workload of the namespace, whatever ports these have"
        yield Finding(
            code="CLV4318", path=("spec", "ingress"), what=what, hint="add a 'workloadSelector'", severity="warning"
        )


def _endpoint(listener: IstioIngressListener, path: Path) -> Iterator[Finding]:
    text = listener.default_endpoint
    path_of_socket = text.removeprefix(UNIX) if text.startswith(UNIX) else ""
    unix = path_of_socket[:1] in ("/", "@") and len(path_of_socket.encode("utf-8", "replace")) <= LONGEST_SOCKET
    good = _ENDPOINT.fullmatch(text) and 1 <= int(text.rpartition(":")[2]) <= 65535
    if text and not unix and not good:
        what = f"{cut(text)!r} is none of '127.0.0.1:PORT', '0.0.0.0:PORT' and 'unix:///path'"
        yield Finding(code="CLV4319", path=(*path, "defaultEndpoint"), what=what)


def _listener(port: SidecarPort | None, bind: str, mode: str, path: Path) -> Iterator[Finding]:
    if mode == "NONE":
        what = "'NONE' is not supported by Clover: all traffic of a workload is brought to its sidecar"
        yield Finding(code="CLV4103", path=(*path, "captureMode"), what=what, hint="leave it out")
    if bind and not _is_ipv4(bind):
        yield Finding(code="CLV4319", path=(*path, "bind"), what=f"{cut(bind)!r} is not an IPv4 address")
    if port and port.number in protocols.PROXIES_OWN:
        what = f"at port {port.number} the proxies of the chain take all connections"
        yield Finding(code="CLV4317", path=(*path, "port", "number"), what=what)
    said = port.protocol.upper() if port else ""
    if port and said not in {"", *protocols.NAMES}:
        what = f"the protocol {cut(port.protocol)!r} is not one of {', '.join(sorted(protocols.NAMES))}"
        hint = nearest(said, protocols.NAMES)
        yield Finding(code="CLV4317", path=(*path, "port", "protocol"), what=what, hint=hint)


def the_rest_goes_somewhere(resource: Sidecar, mesh: Mesh) -> Iterator[Finding]:
    """A proxy that takes what is left is a service with that port."""
    policy = resource.spec.outbound_traffic_policy
    if policy is None or policy.egress_proxy is None:
        return
    destination = policy.egress_proxy
    path: Path = ("spec", "outboundTrafficPolicy", "egressProxy")
    service = service_at(mesh.registry, destination.host, resource.metadata.namespace)
    if service is None:
        yield unknown_host(destination.host, (*path, "host"), mesh, namespace=resource.metadata.namespace)
        return
    numbers = [port.number for port in service.ports]
    if destination.port is None and len(numbers) != 1:
        yield Finding(code="CLV4202", path=path, what=f"{service.host!r} has several ports; say which one is meant")
    elif destination.port and destination.port.number not in numbers:
        shown = ", ".join(map(str, numbers))
        what = f"{service.host!r} has no port {destination.port.number}; it has {shown}"
        yield Finding(code="CLV4202", path=(*path, "port", "number"), what=what)
    for workload in _chosen(resource, mesh) if destination.subset else ():
        labels = labels_of(workload)
        rule = mesh.policies.destination_rule_for(service, seen_from=workload.namespace, labels=labels)
        if destination.subset not in {subset.name for subset in rule.spec.subsets} if rule else True:
            what = f"there is no subset {destination.subset!r} of {service.host!r}"
            yield Finding(code="CLV4203", path=(*path, "subset"), what=what)
            return


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


RULES = (somebody_is_chosen_once, egress_names_services, ingress_is_told_apart, the_rest_goes_somewhere)

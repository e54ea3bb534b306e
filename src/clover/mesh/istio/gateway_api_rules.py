"""What a Gateway of the Gateway API must satisfy: each rule here is a question, its docstring the answer."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from clover.mesh.istio import attachments, resources
from clover.mesh.istio.attachments import EVERY_HOST
from clover.mesh.istio.finding import Finding, Path, cut
from clover.mesh.istio.kinds.gateway_api import GROUP
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import LOOPBACK
from clover.mesh.istio.resources import KubernetesGateway, Resource

_ROUTE_KINDS = ("HTTPRoute", "GRPCRoute")
_PROTOCOLS = ("HTTP", "HTTPS")
_INSTEAD = {
    "TLS": "only TLSRoutes could use it, which Clover does not read; write Istio's Gateway with 'protocol: TLS', and a "
    "VirtualService with 'tls'",
    "TCP": "only TCPRoutes could use it, which Clover does not read; write Istio's Gateway with 'protocol: TCP', and a "
    "VirtualService with 'tcp'",
}
_Opened = tuple[str, int]


def class_is_ours(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """A Gateway of another class is somebody else's to carry out."""
    if not attachments.is_ours(resource):
        yield Finding(
            code="CLV4350",
            path=("spec", "gatewayClassName"),
            what=f"the class {cut(resource.spec.gateway_class_name)!r} is not Clover's, so no port is opened",
            hint=f"Clover's are {' and '.join(map(repr, attachments.CLASSES))}",
            severity="warning",
        )


def listeners_speak_http(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """Ports take HTTP, plain or in TLS, from routes of kinds that there are."""
    for index, listener in enumerate(resource.spec.listeners if attachments.is_ours(resource) else ()):
        path: Path = ("spec", "listeners", index)
        if listener.protocol not in _PROTOCOLS:
            what = f"the protocol {cut(listener.protocol)!r} is not supported by Clover, expected 'HTTP' or 'HTTPS'"
            hint = _INSTEAD.get(listener.protocol, "")
            yield Finding(code="CLV4103", path=(*path, "protocol"), what=what, hint=hint)
        for number, kind in enumerate(listener.allowed_routes.kinds):
            if kind.group != GROUP or kind.kind not in _ROUTE_KINDS:
                what = f"routes of the kind {cut(kind.kind)!r} are not supported by Clover"
                hint = f"kinds are {' and '.join(map(repr, _ROUTE_KINDS))}"
                here = (*path, "allowedRoutes", "kinds", number, "kind")
                yield Finding(code="CLV4103", path=here, what=what, hint=hint)


def listeners_are_told_apart(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """Each listener has a name of its own, and a host of its own on its port, which speaks one protocol."""
    names: set[str] = set()
    protocols: dict[int, str] = {}
    served: set[tuple[int, str]] = set()
    for index, listener in enumerate(resource.spec.listeners):
        path: Path = ("spec", "listeners", index)
        host = listener.hostname or EVERY_HOST
        if listener.name in names:
            what = f"the listener's name {listener.name!r} is written twice"
            yield Finding(code="CLV4352", path=(*path, "name"), what=what)
        if (listener.port, host) in served:
            what = f"port {listener.port} already serves {host!r}"
            hint = "give each listener of a port a hostname of its own"
            yield Finding(code="CLV4352", path=path, what=what, hint=hint)
        if (spoken := protocols.setdefault(listener.port, listener.protocol)) != listener.protocol:
            what = f"port {listener.port} already speaks {cut(spoken)}"
            yield Finding(code="CLV4352", path=(*path, "protocol"), what=what, hint="give each a port of its own")
        names.add(listener.name)
        served.add((listener.port, host))


def addresses_are_addresses(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """Ports are opened at IPv4 addresses of this machine."""
    for index, address in enumerate(resource.spec.addresses if attachments.is_ours(resource) else ()):
        path: Path = ("spec", "addresses", index)
        if address.type != "IPAddress":
            what = f"addresses of the type {cut(address.type)!r} are not supported by Clover, expected 'IPAddress'"
            yield Finding(code="CLV4103", path=(*path, "type"), what=what)
        elif address.value and not _is_ipv4(address.value):
            what = f"{cut(address.value)!r} is not an IPv4 address"
            yield Finding(code="CLV4104", path=(*path, "value"), what=what)


def ports_are_opened_once(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """A port is one Gateway's: its own, not one that Istio's Gateway or another Gateway opens."""
    mine = _opened(resource)
    here = mesh.order[resources.key(resource)]
    for other, taken in _others(mesh):
        if other is resource or (isinstance(other, KubernetesGateway) and mesh.order[resources.key(other)] > here):
            continue
        for address, port in mine:
            if any(_overlap((address, port), one) for one in taken):
                index = next(index for index, one in enumerate(resource.spec.listeners) if one.port == port)
                kind, name = resources.key(other).split("/", 1)
                yield Finding(
                    code="CLV4351",
                    path=("spec", "listeners", index, "port"),
                    what=f"port {port} at {address!r} is already opened by {kind} {name!r}",
                    hint=f"choose another port, or delete {kind.lower()}/{other.metadata.name} first",
                )


def namespaces_have_no_other_labels(resource: KubernetesGateway, mesh: Mesh) -> Iterator[Finding]:
    """A namespace is chosen by its name: here it has no other label."""
    for index, listener in enumerate(resource.spec.listeners):
        selector = listener.allowed_routes.namespaces.selector
        if selector is None:
            continue
        keys = {*selector.match_labels, *(expression.key for expression in selector.match_expressions)}
        if unknown := sorted(keys - {attachments.NAMESPACE_LABEL}):
            yield Finding(
                code="CLV4361",
                path=("spec", "listeners", index, "allowedRoutes", "namespaces", "selector"),
                what=f"no namespace has the label {cut(unknown[0])!r}",
                hint=f"namespaces have {attachments.NAMESPACE_LABEL!r}, which is their name",
                severity="warning",
            )


def _opened(gateway: KubernetesGateway) -> tuple[_Opened, ...]:
    if not attachments.is_ours(gateway):
        return ()
    ports = dict.fromkeys(listener.port for listener in gateway.spec.listeners)
    return tuple((address, port) for address in attachments.addresses_of(gateway) for port in ports)


def _others(mesh: Mesh) -> Iterator[tuple[Resource, tuple[_Opened, ...]]]:
    """Yield every Gateway, of either kind, with what it opens."""
    for gateway in mesh.policies.kubernetes_gateways:
        yield gateway, _opened(gateway)
    chosen = (mesh.policies.gateways_of(workload) for workload in mesh.registry.workloads)
    for istios in {resources.key(one): one for group in chosen for one in group}.values():
        yield istios, tuple((server.bind or LOOPBACK, server.port.number) for server in istios.spec.servers)


def _overlap(one: _Opened, other: _Opened) -> bool:
    if one[1] != other[1]:
        return False
    return one[0] == other[0] or any(_is_ipv4(address) and _is_everywhere(address) for address in (one[0], other[0]))


def _is_everywhere(address: str) -> bool:
    return ipaddress.ip_address(address).is_unspecified


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


RULES = (
    class_is_ours,
    listeners_speak_http,
    listeners_are_told_apart,
    addresses_are_addresses,
    ports_are_opened_once,
    namespaces_have_no_other_labels,
)

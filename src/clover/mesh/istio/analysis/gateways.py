"""What shows only when several Gateways are laid beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clover.kit.memory import remembered_by_identity
from clover.mesh.istio import resources
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import LOOPBACK, is_opened_by
from clover.mesh.istio.resources import Gateway


def hosts_are_served_by_one(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """A host on a port is one Gateway's; the VirtualServices of both would be obeyed, in an order that nobody chose."""
    for index, server in enumerate(resource.spec.servers):
        serving = _serving(mesh) if server.plain_http else {}
        others = [other for host in server.hosts for other in serving.get((*_at(server), host), ())]
        for other in _earlier(resource, {resources.key(other): other for other in others}.values(), mesh):
            taken = {host for one in other.spec.servers if _at(one) == _at(server) for host in one.hosts}
            shared = min(taken & set(server.hosts))
            what = f"port {server.port.number} already serves {shared!r} by Gateway {_name(other)!r}"
            path: Path = ("spec", "servers", index, "hosts")
            yield _warning("CLV4115", path, what, "IST0145", "let one Gateway serve it")


@remembered_by_identity
def _serving(mesh: Mesh) -> Mapping[tuple[str, int, str], list[Gateway]]:
    """Return the Gateways that serve a host, by address, port and host."""
    found: dict[tuple[str, int, str], list[Gateway]] = {}
    for gateway in mesh.policies.gateways:
        for server in gateway.spec.servers:
            for host in server.hosts:
                found.setdefault((*_at(server), host), []).append(gateway)
    return found


def certificates_are_shown_by_one(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """A browser that got a certificate for several hosts asks for all of them on the connection that it has."""
    if not any(server.tls and server.tls.credential_name for server in resource.spec.servers):
        return
    for other in _earlier(resource, mesh.policies.gateways, mesh):
        for index, server in enumerate(resource.spec.servers):
            name = server.tls.credential_name if server.tls else ""
            if name and any(_shows(one, name) and not set(one.names) & set(server.names) for one in other.spec.servers):
                what = f"Gateway {_name(other)!r} shows the same certificate, {name!r}, for other hosts"
                path: Path = ("spec", "servers", index, "tls", "credentialName")
                hint = "clients that reuse a connection are answered 404; put both servers into one Gateway"
                yield _warning("CLV4116", path, what, "IST0138", hint)


def _shows(server: Server, certificate: str) -> bool:
    return server.tls is not None and server.tls.credential_name == certificate


def _earlier(resource: Gateway, others: Iterable[Gateway], mesh: Mesh) -> Iterator[Gateway]:
    """Yield those of the Gateways that came before, and choose a workload which this one chooses, too."""
    mine = mesh.order[resources.key(resource)]
    openers = [workload for workload in mesh.registry.workloads if is_opened_by(resource, workload)]
    for other in others:
        if mesh.order[resources.key(other)] < mine and any(is_opened_by(other, workload) for workload in openers):
            yield other


def _at(server: Server) -> tuple[str, int]:
    return server.bind or LOOPBACK, server.port.number


def _name(gateway: Gateway) -> str:
    return resources.key(gateway).partition("/")[2]


def _warning(code: str, path: Path, what: str, istio: str, hint: str) -> Finding:
    return Finding(code=code, path=path, what=what, hint=hint, severity="warning", istio=istio)


RULES = (hosts_are_served_by_one, certificates_are_shown_by_one)

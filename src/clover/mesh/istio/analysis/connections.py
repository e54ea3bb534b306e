"""Connections that a gateway does not read: of all that could be said about one, only one thing is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clover.kit.memory import remembered_by_identity
from clover.mesh.istio import hosts, resources
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.kinds.virtual_service import ConnectionMatch
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import LOOPBACK, gateway_names, served_domains
from clover.mesh.istio.registry import Workload
from clover.mesh.istio.resources import Gateway, VirtualService


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """Some connections, and the resource that decides about them."""

    connections: tuple[str, int, str]
    """Address and port, and the name that a client of TLS asks for (`*`: any); or the server, where none is read."""
    source: str
    """The Gateway that ends their TLS, or the VirtualService that says where they go; as `resources.key`."""
    path: Path


def connections_are_decided_once(resource: Gateway | VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """What is said about connections is heard; as on Istio, the first by the Gateway's name is, then by its own."""
    told = set()
    for claim, winner in _unheard(mesh).get(resources.key(resource), ()):
        if claim.path in told:
            continue
        told.add(claim.path)
        _, port, name = claim.connections
        kind, _, owner = winner.partition("/")
        yield Finding(
            code="CLV4390",
            path=claim.path,
            what=f"has no effect for {name} at port {port}: {kind} {owner!r} already decides about these connections",
            hint="take them out of one of the two",
            severity="warning",
        )


@remembered_by_identity
def _unheard(mesh: Mesh) -> Mapping[str, list[tuple[_Claim, str]]]:
    """Return, by resource, what it says about connections that another has decided about, and which."""
    found: dict[str, list[tuple[_Claim, str]]] = {}
    for workload in mesh.registry.workloads:
        owners: dict[tuple[str, int, str], str] = {}
        for claim in _claims(workload, mesh):
            winner = owners.setdefault(claim.connections, claim.source)
            # Of two Gateways with one name, `gateway_rules.ports_speak_one_protocol` tells.
            both_are_gateways = winner.startswith("Gateway/") and claim.source.startswith("Gateway/")
            if winner != claim.source and not both_are_gateways:
                found.setdefault(claim.source, []).append((claim, winner))
    return found


def _claims(workload: Workload, mesh: Mesh) -> Iterator[_Claim]:
    """Yield who decides about which connections to a gateway, in the order in which they are heard."""
    for gateway in mesh.policies.gateways_of(workload):
        name = f"{gateway.metadata.namespace}/{gateway.metadata.name}"
        for index, server in enumerate(gateway.spec.servers):
            if server.plain_http:
                continue
            bound = [one for one in mesh.policies.bound.get(name, ()) if any(served_domains(one, gateway, server))]
            if server.terminates or server.protocol == "TCP":
                rules = list(_unread(bound, f"server {index} of Gateway {name!r}", name, server))
                if server.terminates and (rules or server.protocol == "HTTPS"):
                    for host in server.names or ("*",):
                        path: Path = ("spec", "servers", index, "hosts")
                        yield _Claim(connections=_at(server, repr(host)), source=resources.key(gateway), path=path)
                if server.protocol != "HTTPS":
                    yield from rules
            else:
                yield from _through(bound, name, server)


def _unread(bound: list[VirtualService], where: str, gateway: str, server: Server) -> Iterator[_Claim]:
    """Yield what is said about all connections to a server; each VirtualService is heard whole, or not at all."""
    for service in bound:
        for index, rule in enumerate(service.spec.tcp):
            if not rule.match or any(_applies(match, service, gateway, server) for match in rule.match):
                yield _Claim(connections=_at(server, where), source=resources.key(service), path=("spec", "tcp", index))
                break


def _through(bound: list[VirtualService], gateway: str, server: Server) -> Iterator[_Claim]:
    """Yield what is said about names that clients of TLS ask for, which is not ended here."""
    for service in bound:
        for index, rule in enumerate(service.spec.tls):
            for number, match in enumerate(rule.match):
                if not _applies(match, service, gateway, server):
                    continue
                path: Path = ("spec", "tls", index, "match", number, "sniHosts")
                for name in _names(match.sni_hosts, server):
                    yield _Claim(connections=_at(server, repr(name)), source=resources.key(service), path=path)


def _names(wanted: tuple[str, ...], server: Server) -> Iterator[str]:
    """Yield the names that a rule takes at a server; one for any name takes those that the server serves."""
    for name in map(str.lower, wanted):
        if name == "*":
            yield from server.names or ("*",)
        elif not server.names or any(hosts.covers(pattern, name) for pattern in server.names):
            yield name


def _applies(match: ConnectionMatch, service: VirtualService, gateway: str, server: Server) -> bool:
    if match.port not in (None, server.port.number):
        return False
    return not match.gateways or gateway in gateway_names(match.gateways, service.metadata.namespace)


def _at(server: Server, name: str) -> tuple[str, int, str]:
    return server.bind or LOOPBACK, server.port.number, name


RULES = (connections_are_decided_once,)

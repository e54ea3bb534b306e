"""What a Gateway must satisfy: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from clover.mesh.istio import resources
from clover.mesh.istio.finding import Finding, Path, cut
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import LOOPBACK
from clover.mesh.istio.resources import Gateway
from clover.mesh.istio.routing_rules import HOST


def selector_chooses_a_gateway(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """Some workload of the mesh is the gateway that is meant."""
    if any(resource in mesh.policies.gateways_of(workload) for workload in mesh.registry.workloads):
        return
    yield Finding(
        code="CLV4221",
        path=("spec", "selector"),
        what="no gateway of the mesh has these labels, so no port is opened",
        hint="the chain's gateway has 'istio: ingressgateway'",
        severity="warning",
        istio="IST0101",
    )


def servers_speak_http(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """Ports take plain HTTP, at an address, for host names."""
    for index, server in enumerate(resource.spec.servers):
        path: Path = ("spec", "servers", index)
        if server.port.protocol.upper() != "HTTP":
            what = f"the protocol {cut(server.port.protocol)!r} is not supported by Clover, expected 'HTTP'"
            yield Finding(code="CLV4103", path=(*path, "port", "protocol"), what=what)
        if server.bind and not _is_address(server.bind):
            what = f"{cut(server.bind)!r} is not an IP address"
            yield Finding(code="CLV4104", path=(*path, "bind"), what=what)
        for number, host in enumerate(server.hosts):
            if not HOST.fullmatch(host.rpartition("/")[2]):
                what = f"{cut(host)!r} is not a host name"
                yield Finding(code="CLV4201", path=(*path, "hosts", number), what=what)


def ports_are_opened_once(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """A port is opened at one address, or at several that do not include each other; its names are told apart."""
    names: set[str] = set()
    hosts: set[tuple[str, int, str]] = set()
    for index, server in enumerate(resource.spec.servers):
        path: Path = ("spec", "servers", index)
        if server.port.name in names:
            what = f"the port name {server.port.name!r} is written twice"
            yield Finding(code="CLV4209", path=(*path, "port", "name"), what=what)
        names.add(server.port.name)
        for number, host in enumerate(server.hosts):
            place = (server.bind or LOOPBACK, server.port.number, host.lower())
            if place in hosts:
                what = f"port {server.port.number} already serves {host!r}"
                yield Finding(code="CLV4209", path=(*path, "hosts", number), what=what)
            hosts.add(place)
        yield from _overlap(resource, index, mesh)


def _overlap(resource: Gateway, index: int, mesh: Mesh) -> Iterator[Finding]:
    """The kernel gives a port at every address, or at single ones, not both."""
    server = resource.spec.servers[index]
    here = (mesh.order[resources.key(resource)], index)
    for other in _beside(resource, mesh):
        for number, taken in enumerate(other.spec.servers):
            earlier = (mesh.order[resources.key(other)], number) < here
            if earlier and _overlaps(server, taken):
                name = resources.key(other).partition("/")[2]
                yield Finding(
                    code="CLV4209",
                    path=("spec", "servers", index),
                    what=f"port {server.port.number} at {server.bind or LOOPBACK!r} is also opened at "
                    f"{taken.bind or LOOPBACK!r} by Gateway {name!r}",
                    hint="open it at one address",
                    istio="IST0145",
                )
                return


def _beside(resource: Gateway, mesh: Mesh) -> Iterator[Gateway]:
    """Yield the Gateways that choose a workload which `resource` chooses too."""
    chosen = (tuple(mesh.policies.gateways_of(workload)) for workload in mesh.registry.workloads)
    together = {resources.key(other): other for group in chosen if resource in group for other in group}
    yield from together.values()


def _overlaps(one: Server, other: Server) -> bool:
    addresses = {one.bind or LOOPBACK, other.bind or LOOPBACK}
    if one.port.number != other.port.number or len(addresses) == 1:
        return False
    return any(_is_address(address) and ipaddress.ip_address(address).is_unspecified for address in addresses)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


RULES = (selector_chooses_a_gateway, servers_speak_http, ports_are_opened_once)

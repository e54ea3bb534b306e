"""What a Gateway must satisfy: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile

from clover.kit.memory import remembered_by_identity
from clover.mesh.istio import resources
from clover.mesh.istio.finding import Finding, Path, cut
from clover.mesh.istio.kinds.gateway import Server
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import LOOPBACK, is_opened_by, served_domains
from clover.mesh.istio.resources import Gateway
from clover.mesh.istio.routing_rules import HOST
from clover.mesh.istio.tls_checks import server_findings

_PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", "TCP")


def selector_chooses_a_gateway(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """Some workload of the mesh is the gateway that is meant."""
    if any(is_opened_by(resource, workload) for workload in mesh.registry.workloads):
        return
    yield Finding(
        code="CLV4221",
        path=("spec", "selector"),
        what="no gateway of the mesh has these labels, so no port is opened",
        hint="the chain's gateway has 'istio: ingressgateway' and 'app: istio-ingressgateway'",
        severity="warning",
        istio="IST0101",
    )


def servers_are_understood(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """Ports speak a protocol that is known, at an address, for host names."""
    for index, server in enumerate(resource.spec.servers):
        path: Path = ("spec", "servers", index)
        if server.protocol not in _PROTOCOLS:
            what = f"the protocol {cut(server.port.protocol)!r} is not supported by Clover"
            yield Finding(
                code="CLV4103", path=(*path, "port", "protocol"), what=what, hint=f"one of {', '.join(_PROTOCOLS)}"
            )
        if server.bind and not _is_address(server.bind):
            what = f"{cut(server.bind)!r} is not an IP address"
            yield Finding(code="CLV4104", path=(*path, "bind"), what=what)
        for number, host in enumerate(server.hosts):
            if not HOST.fullmatch(host.rpartition("/")[2]):
                what = f"{cut(host)!r} is not a host name"
                yield Finding(code="CLV4201", path=(*path, "hosts", number), what=what)
            elif _family(server) == "TLS" and host.rpartition("/")[2].startswith("*-"):
                what = f"{cut(host)!r} is no name that TLS clients could be told apart by"
                hint = "a '*' stands for whole parts of a name: '*.example.com'"
                yield Finding(code="CLV4201", path=(*path, "hosts", number), what=what, hint=hint)


def tls_fits_the_protocol(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """HTTPS and TLS say what becomes of the TLS; plain HTTP may only redirect; TCP has none."""
    for index, server in enumerate(resource.spec.servers):
        path: Path = ("spec", "servers", index, "tls")
        tls, protocol = server.tls, server.protocol
        if tls is None:
            if protocol in ("HTTPS", "TLS"):
                hint = "for example 'tls: {mode: SIMPLE, credentialName: NAME}'"
                yield Finding(code="CLV4236", path=path[:-1], what=f"{protocol} without 'tls'", hint=hint)
        elif tls.mode == "AUTO_PASSTHROUGH":
            what = "'AUTO_PASSTHROUGH' is not supported by Clover"
            yield Finding(code="CLV4103", path=(*path, "mode"), what=what)
        elif server.plain_http:
            if tls.model_fields_set - {"https_redirect"} and tls.mode != "PASSTHROUGH":
                what = f"the protocol {protocol} is plain text, and only 'httpsRedirect' can be set"
                yield Finding(code="CLV4236", path=path, what=what, hint="say 'protocol: HTTPS'")
        elif protocol == "TCP":
            what = "the protocol TCP has no TLS that the gateway would know of"
            yield Finding(code="CLV4236", path=path, what=what, hint="say 'protocol: TLS'")
        else:
            if tls.https_redirect:
                what = f"'httpsRedirect' is for plain HTTP, and the protocol is {protocol}"
                yield Finding(code="CLV4220", path=(*path, "httpsRedirect"), what=what, severity="warning")
            yield from server_findings(tls, path)


def bytes_lead_somewhere(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """What is not read as HTTP needs a VirtualService with rules for it, or the port stays closed."""
    for index, server in enumerate(resource.spec.servers):
        through = server.tls is not None and server.tls.mode == "PASSTHROUGH" and server.protocol in ("TLS", "HTTPS")
        if not (through or server.protocol == "TCP" or (server.terminates and server.protocol == "TLS")):
            continue
        kind = "tls" if through else "tcp"
        name = f"{resource.metadata.namespace}/{resource.metadata.name}"
        if not any(
            getattr(service.spec, kind) and any(served_domains(service, resource, server))
            for service in mesh.policies.bound.get(name, ())
        ):
            yield Finding(
                code="CLV4238",
                path=("spec", "servers", index),
                what=f"no VirtualService with {kind!r} rules for its hosts is bound to it, so nothing is taken here",
                severity="warning",
            )


def ports_speak_one_protocol(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """Plain HTTP, TLS and TCP have ports of their own; a name that TLS clients ask for has one server."""
    for index, server in enumerate(resource.spec.servers):
        address, family = _address(server), _family(server)
        findings = (
            finding
            for opened in _earlier(resource, index, mesh)
            if opened.address == address
            # HTTP is told apart by Host, so that many may serve it.
            and not (opened.family == family == "HTTP")
            for finding in _together(server, opened, index)
        )
        yield from islice(findings, 1)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A server of a Gateway."""

    place: tuple[int, int]
    """Of the Gateway among all resources, and of the server in it."""
    owner: str
    """The Gateway, as `namespace/name`."""
    server: Server
    address: str
    family: str
    names: frozenset[str]
    """What TLS clients ask for; `*` is anything."""
    workloads: frozenset[str]
    """Those that open it."""


@remembered_by_identity
def _opened(mesh: Mesh) -> Mapping[int, tuple[_Opened, ...]]:
    """Return the servers of all Gateways by port, in the order in which they were written."""
    found: dict[int, list[_Opened]] = {}
    for gateway in sorted(mesh.policies.gateways, key=lambda one: mesh.order[resources.key(one)]):
        workloads = frozenset(one.name for one in mesh.registry.workloads if is_opened_by(gateway, one))
        order, owner = mesh.order[resources.key(gateway)], _name(gateway)
        for number, server in enumerate(gateway.spec.servers):
            names = frozenset(server.names or ("*",))
            found.setdefault(server.port.number, []).append(
                _Opened((order, number), owner, server, _address(server), _family(server), names, workloads)
            )
    return {port: tuple(servers) for port, servers in found.items()}


def _earlier(resource: Gateway, index: int, mesh: Mesh) -> Iterator[_Opened]:
    """Yield the servers that were written before one, at the same port of the same workload."""
    at_port = _opened(mesh)[resource.spec.servers[index].port.number]
    here = (mesh.order[resources.key(resource)], index)
    own = next(opened for opened in at_port if opened.place == here)
    return (opened for opened in takewhile(lambda one: one is not own, at_port) if opened.workloads & own.workloads)


def _name(gateway: Gateway) -> str:
    return f"{gateway.metadata.namespace}/{gateway.metadata.name}"


def _together(server: Server, earlier: _Opened, index: int) -> Iterator[Finding]:
    path: Path = ("spec", "servers", index)
    number, family, owner = server.port.number, _family(server), earlier.owner
    if family != earlier.family:
        what = f"port {number} speaks {server.protocol} here and {earlier.server.protocol} in Gateway {owner!r}"
        yield Finding(code="CLV4236", path=(*path, "port"), what=what, hint="give each a port of its own")
    elif family == "TCP":
        what = f"port {number} is taken by Gateway {owner!r}, and TCP connections cannot be told apart"
        yield Finding(code="CLV4209", path=path, what=what, istio="IST0145")
    elif shared := earlier.names & set(server.names or ("*",)):
        what = f"port {number} already serves {min(shared)!r} by Gateway {owner!r}"
        hint = "let one Gateway serve it; clients of TLS are told apart by that name alone"
        yield Finding(code="CLV4209", path=(*path, "hosts"), what=what, hint=hint, istio="IST0145")


def _family(server: Server) -> str:
    if server.plain_http:
        return "HTTP"
    return "TCP" if server.protocol == "TCP" else "TLS"


def ports_are_opened_once(resource: Gateway, mesh: Mesh) -> Iterator[Finding]:
    """A port is opened at one address, or at several that do not include each other; its names are told apart."""
    names: set[str] = set()
    hosts: set[tuple[str, int, str, int | None]] = set()
    for index, server in enumerate(resource.spec.servers):
        path: Path = ("spec", "servers", index)
        if server.port.name in names:
            what = f"the port name {server.port.name!r} is written twice"
            yield Finding(code="CLV4209", path=(*path, "port", "name"), what=what)
        names.add(server.port.name)
        for number, host in enumerate(server.hosts):
            # Of several servers without HTTP, `ports_speak_one_protocol` tells.
            alone = None if _family(server) == "HTTP" else index
            place = (server.bind or LOOPBACK, server.port.number, host.lower(), alone)
            if place in hosts:
                what = f"port {server.port.number} already serves {host!r}"
                yield Finding(code="CLV4209", path=(*path, "hosts", number), what=what)
            hosts.add(place)
        yield from _overlap(resource, index, mesh)


def _overlap(resource: Gateway, index: int, mesh: Mesh) -> Iterator[Finding]:
    """The kernel gives a port at every address, or at single ones, not both."""
    server = resource.spec.servers[index]
    for opened in _earlier(resource, index, mesh):
        here, taken = _address(server), opened.address
        if here != taken and (_is_every_address(here) or _is_every_address(taken)):
            yield Finding(
                code="CLV4209",
                path=("spec", "servers", index),
                what=f"port {server.port.number} at {here!r} is also opened at {taken!r} by Gateway {opened.owner!r}",
                hint="open it at one address",
                istio="IST0145",
            )
            return


def _address(server: Server) -> str:
    return server.bind or LOOPBACK


def _is_every_address(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_unspecified


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


RULES = (
    selector_chooses_a_gateway,
    servers_are_understood,
    tls_fits_the_protocol,
    bytes_lead_somewhere,
    ports_speak_one_protocol,
    ports_are_opened_once,
)

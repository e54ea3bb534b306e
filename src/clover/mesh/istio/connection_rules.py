"""What the rules of a VirtualService for TCP and TLS must satisfy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from clover.mesh.istio import hosts
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.kinds.virtual_service import ConnectionMatch, TCPRoute, TLSRoute
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import MESH, gateway_names, hosts_of
from clover.mesh.istio.protocols import HTTP, TLS, declared
from clover.mesh.istio.resources import VirtualService

SNI_HOST = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_](?:[-A-Za-z0-9_.]{0,251}[A-Za-z0-9_])?")
_MAX_NETWORKS = 1024
_KINDS = (
    ("tcp", frozenset({"TCP"}), "for TCP, or without a declared protocol"),
    ("tls", TLS, "named 'tls-...' or 'https-...'"),
)


def rules_of(resource: VirtualService) -> Iterator[tuple[Path, TCPRoute | TLSRoute]]:
    """Yield every rule for connections, with its place."""
    for index, tcp in enumerate(resource.spec.tcp):
        yield ("spec", "tcp", index), tcp
    for index, tls in enumerate(resource.spec.tls):
        yield ("spec", "tls", index), tls


def names_are_of_the_hosts(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A rule for TLS speaks of names within the VirtualService's hosts."""
    known = tuple(hosts_of(resource))
    for index, rule in enumerate(resource.spec.tls):
        for number, match in enumerate(rule.match):
            for place, name in enumerate(match.sni_hosts):
                path: Path = ("spec", "tls", index, "match", number, "sniHosts", place)
                if not SNI_HOST.fullmatch(name):
                    what = f"{cut(name)!r} is neither a host name nor '*.' and one, which TLS clients could say"
                    yield Finding(code="CLV4330", path=path, what=what)
                elif not any(
                    hosts.covers(host, name.lower()) for host in (*known, *map(str.lower, resource.spec.hosts))
                ):
                    what = f"{cut(name)!r} is none of the VirtualService's hosts"
                    yield Finding(code="CLV4330", path=path, what=what, hint="name it in 'spec.hosts' too")


def subnets_are_networks(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Destinations are addresses or networks, in a number that a proxy can look through."""
    for path, rule in rules_of(resource):
        for number, match in enumerate(rule.match):
            here = (*path, "match", number, "destinationSubnets")
            if len(match.destination_subnets) > _MAX_NETWORKS:
                what = f"there are {len(match.destination_subnets)} networks, at most {_MAX_NETWORKS} are allowed"
                yield Finding(code="CLV4332", path=here, what=what)
            for place, text in enumerate(match.destination_subnets):
                if not _is_network(text):
                    what = f"{cut(text)!r} is neither an IP address nor a network such as '10.0.0.0/8'"
                    yield Finding(code="CLV4332", path=(*here, place), what=what)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "%" not in text


def connections_come(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Rules for TCP and TLS stand where connections of that kind come."""
    bound = mesh.bound(resource)
    ports = mesh.listener_ports(resource)
    for path, rule in rules_of(resource):
        for number, match in enumerate(rule.match):
            here = (*path, "match", number)
            for place, name in enumerate(gateway_names(match.gateways, resource.metadata.namespace)):
                if name not in bound:
                    what = f"the VirtualService is not bound to {match.gateways[place]!r}"
                    hint = nearest(name, bound) or "name it in 'spec.gateways' too"
                    yield Finding(code="CLV4208", path=(*here, "gateways", place), what=what, hint=hint)
            if match.port is not None and match.port not in ports:
                what = f"nothing that the VirtualService is bound to takes traffic on port {match.port}"
                what = f"{what}; the match never holds"
                yield Finding(code="CLV4214", path=(*here, "port"), what=what, severity="warning")
            if MESH not in bound:
                yield from _not_asked_at_gateways(match, here)
    for name, kinds, expected in _KINDS:
        if getattr(resource.spec, name) and not kinds & _kinds_at(resource, mesh):
            what = f"none of the ports that the VirtualService is bound to is {expected}"
            yield Finding(code="CLV4331", path=("spec", name), what=what, severity="warning")


def _not_asked_at_gateways(match: ConnectionMatch, path: Path) -> Iterator[Finding]:
    for field, value in (
        ("destinationSubnets", match.destination_subnets),
        ("sourceLabels", match.source_labels),
        ("sourceNamespace", match.source_namespace),
    ):
        if value:
            what = f"a gateway does not ask for {field!r}, and the VirtualService is for gateways only"
            yield Finding(code="CLV4220", path=(*path, field), what=what, severity="warning")


def _kinds_at(resource: VirtualService, mesh: Mesh) -> frozenset[str]:
    """Return what may come where a VirtualService is bound: words for HTTP and for TLS, and `TCP` for all else."""
    words = set()
    bound = mesh.bound(resource)
    if MESH in bound:
        covered = (service for host in hosts_of(resource) for service in mesh.covered(host))
        words |= {declared(port) for service in covered for port in service.ports}
    for gateway in filter(None, map(mesh.gateway, bound)):
        for server in gateway.spec.servers:
            word = server.port.protocol.upper()
            # TLS that a gateway terminates is TCP behind it.
            words |= {word, "TCP"} if word in TLS else {word}
    return frozenset(word if word in HTTP | TLS else "TCP" for word in words)


RULES = (names_are_of_the_hosts, subnets_are_networks, connections_come)

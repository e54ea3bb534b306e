"""What ServiceEntries and WorkloadEntries must satisfy: each rule is a question, its docstring the wanted answer."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

from clover.kit.memory import remembered_by_identity
from clover.mesh.istio import protocols, resources
from clover.mesh.istio.asked_names import names_can_be_asked_for
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.kinds.service_entry import UNIX, EntryPort, WorkloadEntrySpec
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.outside import LOOPBACK_ALLOWED, LOOPBACK_ANNOTATION, service_port
from clover.mesh.istio.registry import Resolution, Service
from clover.mesh.istio.resources import ServiceEntry, WorkloadEntry

_LABEL = r"[A-Za-z0-9_](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_WILDCARD = re.compile(rf"\*[-.]?{_LABEL}(?:\.{_LABEL})*")
_MOST_LETTERS = 253
_BY_NAME = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


def hosts_are_names(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """A host is a name, or a wildcard, that can be dialled and looked up."""
    spec, seen = resource.spec, set()
    for index, host in enumerate(spec.hosts):
        path: Path = ("spec", "hosts", index)
        wildcard = host.startswith("*")
        if len(host) > _MOST_LETTERS or not (_WILDCARD if wildcard else _NAME).fullmatch(host):
            hint = "name the hosts; the policy for all others is 'outboundTrafficPolicy'" if host == "*" else ""
            yield _host(path, f"{cut(host)!r} is not a host name", hint)
        elif host.lower() in seen:
            yield _host(path, f"the host {host!r} is written twice")
        elif host.lower() == "localhost":
            yield _host(path, f"{host!r} is what every machine calls itself")
        elif wildcard and spec.resolution in _BY_NAME and not spec.endpoints and spec.workload_selector is None:
            yield _host(path, f"nobody can look up {host!r}", "name 'endpoints'")
        elif wildcard and not host.startswith("*.") and any(_is_tls(port) for port in spec.ports):
            yield _host(path, f"{host!r} is no server name that TLS knows", "write a wildcard as '*.example.com'")
        seen.add(host.lower())


def _host(path: Path, what: str, hint: str = "") -> Finding:
    return Finding(code="CLV4310", path=path, what=what, hint=hint)


def hosts_are_new(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """A host is one service's: the chain's, or one entry's."""
    for index, host in enumerate(resource.spec.hosts):
        path: Path = ("spec", "hosts", index)
        for service in mesh.by_host.get(host.lower(), ()):
            # Of two entries the one that came later is told.
            if service.source and mesh.order[service.source] >= mesh.order[resources.key(resource)]:
                continue
            owner = service.source.partition("/")[2]
            whose = f"ServiceEntry {owner!r}" if owner else "a service of the chain"
            hint = f"put the endpoints into {owner!r}, or delete it first" if owner else "take another name"
            what = f"the host {host!r} is already that of {whose}"
            istio = "IST0177" if owner and _contradicts(service, resource, mesh) else ""
            yield Finding(code="CLV4311", path=path, what=what, hint=hint, istio=istio)
            break


def _contradicts(service: Service, resource: ServiceEntry, mesh: Mesh) -> bool:
    """Tell whether somebody is told of a service and of an entry's for its host that give a port other protocols."""
    known = {port.number: protocols.declared(port) for port in service.ports}
    return any(
        known.get(port.number, said) != said
        for own in _own_services(resource, mesh)
        if own.host == service.host
        and not (own.namespaces and service.namespaces and set(own.namespaces).isdisjoint(service.namespaces))
        for port in own.ports
        if (said := protocols.declared(port))
    )


def resolution_is_carried_out(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """Proxies know members by address, or through a name that is looked up for them."""
    path: Path = ("spec", "resolution")
    if resource.spec.resolution == "NONE":
        yield Finding(
            code="CLV4316",
            path=path,
            what="with 'NONE' traffic goes to the address that was dialled, which a chain's network does not reach",
            hint="use 'STATIC' with 'endpoints', or 'DNS'",
            severity="warning",
        )


def ports_are_told_apart(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """Ports have numbers and names of their own, and a protocol that proxies speak."""
    ports = resource.spec.ports
    numbers, names = Counter(port.number for port in ports), Counter(port.name for port in ports)
    for index, port in enumerate(ports):
        path: Path = ("spec", "ports", index)
        if numbers[port.number] > 1:
            yield _port((*path, "number"), f"the port {port.number} is written {numbers[port.number]} times")
        if port.number in protocols.PROXIES_OWN:
            yield _port((*path, "number"), f"at port {port.number} the proxies of the chain take all connections")
        if names[port.name] > 1:
            yield _port((*path, "name"), f"the name {port.name!r} is written {names[port.name]} times")
        said = port.protocol.upper()
        if said and said not in protocols.NAMES:
            what = f"the protocol {cut(port.protocol)!r} is not one of {', '.join(sorted(protocols.NAMES))}"
            yield _port((*path, "protocol"), what, nearest(said, protocols.NAMES))
    if not ports:
        what = "there are no 'ports', so nothing of it can be dialled"
        yield Finding(code="CLV4314", path=("spec",), what=what, severity="warning")


def _port(path: Path, what: str, hint: str = "") -> Finding:
    return Finding(code="CLV4317", path=path, what=what, hint=hint)


def endpoints_can_be_reached(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """Members are found in the way that the resolution says."""
    allowed = _loopback_allowed(resource)
    for index, endpoint in enumerate(resource.spec.endpoints):
        path: Path = ("spec", "endpoints", index, "address")
        yield from _address(endpoint, path, Resolution(resource.spec.resolution), loopback=allowed)
        for name in endpoint.ports.keys() - {port.name for port in resource.spec.ports}:
            known = [port.name for port in resource.spec.ports]
            what = f"the service has no port {name!r}; it has {', '.join(map(repr, known)) or 'none'}"
            yield Finding(
                code="CLV4312", path=("spec", "endpoints", index, "ports", name), what=what, hint=nearest(name, known)
            )
    for service in _own_services(resource, mesh):
        if service.resolution is Resolution.DNS_ROUND_ROBIN and len(service.outsiders) > 1:
            what = f"with 'DNS_ROUND_ROBIN' there is one member, and the selector chooses {len(service.outsiders)}"
            yield Finding(code="CLV4312", path=("spec", "workloadSelector"), what=what, hint="use 'DNS'")
            return


def members_exist(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """A service has somebody who takes its traffic."""
    for service in _own_services(resource, mesh):
        if service.resolution is Resolution.NONE or service.outsiders or any(mesh.registry.members(service)):
            continue
        selector = resource.spec.workload_selector
        chosen = ", ".join(f"{name}={value}" for name, value in selector.labels.items()) if selector else ""
        yield Finding(
            code="CLV4314",
            path=("spec", "workloadSelector" if selector else "endpoints"),
            what=f"nobody has the labels {chosen!r}" if selector else "the service has no members",
            hint="requests to this host are answered 503",
            severity="warning",
        )
        return


def addresses_are_its_own(resource: ServiceEntry, mesh: Mesh) -> Iterator[Finding]:
    """A listener at one address, or of one port, is one service's."""
    for index, address in enumerate(resource.spec.addresses):
        if ":" in address:
            what = f"functions have IPv4 alone, and never dial {address!r}"
            yield Finding(code="CLV4313", path=("spec", "addresses", index), what=what, severity="warning")
    for service in _own_services(resource, mesh):
        for index, port in enumerate(resource.spec.ports):
            yield from _shared_listener(service, port, ("spec", "ports", index), mesh)


def _shared_listener(service: Service, port: EntryPort, path: Path, mesh: Mesh) -> Iterator[Finding]:
    said = protocols.declared(service_port(port))
    if said in protocols.HTTP:
        return
    for address in service.addresses:
        first = mesh.by_address.get((address, port.number))
        if first and first.host != service.host:
            yield Finding(
                code="CLV4313",
                path=path,
                what=f"{address}:{port.number} is also that of {first.host!r}, which gets all of its connections",
                hint="give each host an address of its own, or leave 'addresses' out",
                severity="error" if not first.source else "warning",
            )
    if service.addresses or service.networks or said in protocols.TLS:
        return
    yield Finding(
        code="CLV4315",
        path=path,
        what=f"without 'addresses', {service.host!r} takes every connection to port {port.number}, whoever is meant",
        hint="name 'addresses', or use a resolution other than 'NONE', with which the host gets one",
        severity="warning",
        istio="IST0134",
    )


@remembered_by_identity
def _choosers(mesh: Mesh) -> Mapping[tuple[str, str, str], list[tuple[Mapping[str, str], Service]]]:
    """Return the services that choose their members by labels, with these; by namespace and the first of the labels."""
    found: dict[tuple[str, str, str], list[tuple[Mapping[str, str], Service]]] = {}
    for service in mesh.registry.services:
        selector = service.selector or ({} if service.hostname else {"app": service.name})
        for label in islice(selector.items(), 1):
            found.setdefault((service.namespace, *label), []).append((selector, service))
    return found


def member_can_be_reached(resource: WorkloadEntry, mesh: Mesh) -> Iterator[Finding]:
    """A WorkloadEntry is found in the way of the services that choose it, and some service does."""
    path: Path = ("spec", "address")
    labels = resource.spec.labels or resource.metadata.labels
    choosers = _choosers(mesh)
    chosen_by = [
        service
        for label in labels.items()
        for selector, service in choosers.get((resource.metadata.namespace, *label), ())
        if selector.items() <= labels.items()
    ]
    if not chosen_by:
        shown = ", ".join(f"{name}={value}" for name, value in labels.items())
        what = f"no service chooses it by its labels {shown!r}" if shown else "it has no labels to be chosen by"
        yield Finding(code="CLV4314", path=("spec", "labels"), what=what, severity="warning")
        alone = Resolution.STATIC if resource.spec.address.startswith(UNIX) else Resolution.DNS
        yield from _address(resource.spec, path, alone, loopback=_loopback_allowed(resource))
    for resolution in dict.fromkeys(service.resolution for service in chosen_by):
        yield from _address(resource.spec, path, resolution, loopback=_loopback_allowed(resource))


def _address(spec: WorkloadEntrySpec, path: Path, resolution: Resolution, *, loopback: bool) -> Iterator[Finding]:
    address = spec.address
    if not address:
        yield Finding(code="CLV4103", path=path, what="a member of another 'network' is not supported by Clover")
        return
    if address.startswith(UNIX):
        if resolution in _BY_NAME:
            what = f"{cut(address)!r} is a Unix socket, which is not looked up"
            yield Finding(code="CLV4312", path=path, what=what, hint="use 'resolution: STATIC'")
        elif not loopback:
            yield _not_meant(path, f"{cut(address)!r} is a Unix socket of this machine")
        return
    literal = _ip(address)
    if literal is None:
        if len(address) > _MOST_LETTERS or not _NAME.fullmatch(address):
            what = f"{cut(address)!r} is neither an IP address nor a host name"
            yield Finding(code="CLV4312", path=path, what=what)
        elif resolution is Resolution.STATIC:
            what = f"{address!r} is a name, and with 'STATIC' members are not looked up"
            yield Finding(code="CLV4312", path=path, what=what, hint="use 'resolution: DNS'")
    elif literal.is_unspecified or literal.is_multicast or literal.is_link_local:
        what = f"{address!r} is nobody's address that could be dialled from here"
        yield Finding(code="CLV4312", path=path, what=what)
    if not loopback and ((literal and literal.is_loopback) or address.lower() == "localhost"):
        yield _not_meant(path, f"{address!r} is this machine's own loopback")


def _not_meant(path: Path, what: str) -> Finding:
    """Return that a member is where services of this machine stand that trust everybody on it."""
    return Finding(
        code="CLV4312",
        path=path,
        what=f"{what}, which functions do not reach",
        hint=f"if that is meant, set the annotation '{LOOPBACK_ANNOTATION}: {LOOPBACK_ALLOWED}'",
    )


def _loopback_allowed(resource: ServiceEntry | WorkloadEntry) -> bool:
    return resource.metadata.annotations.get(LOOPBACK_ANNOTATION) == LOOPBACK_ALLOWED


def _own_services(resource: ServiceEntry, mesh: Mesh) -> Iterator[Service]:
    for host in resource.spec.hosts:
        for service in mesh.by_host.get(host.lower(), ()):
            if service.source == resources.key(resource):
                yield service


def _is_tls(port: EntryPort) -> bool:
    return protocols.declared(service_port(port)) in protocols.TLS


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.replace("%", "?"))
    except ValueError:
        return None


SERVICE_RULES = (
    hosts_are_names,
    hosts_are_new,
    resolution_is_carried_out,
    names_can_be_asked_for,
    ports_are_told_apart,
    endpoints_can_be_reached,
    members_exist,
    addresses_are_its_own,
)
WORKLOAD_RULES = (member_can_be_reached,)

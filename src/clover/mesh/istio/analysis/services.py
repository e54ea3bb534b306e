"""What Kubernetes' Services must satisfy for a mesh to understand them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh.istio.analysis import kubernetes
from clover.mesh.istio.analysis.inventory import INSTALLED, Object
from clover.mesh.istio.finding import Finding, Path, dotted, problem_from
from clover.mesh.istio.resources import Gateway

_PROTOCOLS = "http|http2|https|tcp|tls|grpc|grpc-web|mongo|mysql|redis|udp|hbone"
_NAMED = re.compile(rf"(?:{_PROTOCOLS})(?:-.*)?")
_GOOD_NAMES = "call it 'http', 'grpc', 'tcp' or such, or 'http-...'"
_Named = tuple[str, kubernetes.Service]
_APP_PROTOCOLS = frozenset({*_PROTOCOLS.split("|"), "kubernetes.io/h2c", "kubernetes.io/ws", "kubernetes.io/wss"})


def problems_of(objects: Iterable[Object]) -> Iterator[Problem]:
    """Yield what a mesh would not understand."""
    found = tuple(objects)
    by_namespace: dict[str, list[tuple[str, kubernetes.Service]]] = {}
    for one in found:
        if isinstance(one.value, kubernetes.Service):
            by_namespace.setdefault(one.namespace, []).append((one.name, one.value))
            yield from _ports_are_named(one, one.value)
    for one in found:
        if one.pod and not one.is_outside:
            yield from _services_agree(one, one.pod, by_namespace.get(one.namespace, ()))


def _ports_are_named(one: Object, service: kubernetes.Service) -> Iterator[Problem]:
    """
    A port's name begins with its protocol; that of any other is found by its first bytes.

    What comes with an installation is left alone: who reads the message could not change it.
    """
    outside = service.spec.type == "ExternalName"
    istio = "IST0150" if outside else "IST0118"
    hint = "call it 'https', 'tls' or 'http', or 'http-...'" if outside else _GOOD_NAMES
    for index, port in enumerate(service.spec.ports or () if one.namespace not in INSTALLED else ()):
        path: Path = ("spec", "ports", index, "name")
        if outside and port.name == "tcp":
            what = "'tcp' says nothing by which connections to a name outside could be told from others at the port"
            yield _problem(one, path, "CLV4112", istio, what, hint=hint)
        elif not (port.protocol == "UDP" or port.app_protocol in _APP_PROTOCOLS or _NAMED.fullmatch(port.name)):
            what = (
                f"the name {port.name!r} begins with no protocol, which is found out by the first bytes of a connection"
            )
            yield _problem(one, path, "CLV4112", istio, what, hint=hint)


def gateway_problems(
    objects: Iterable[Object], gateways: Iterable[Gateway], origins: Mapping[str, Document]
) -> Iterator[Problem]:
    """A port that a Gateway opens is one of a Service that leads to its pods, when these are known."""
    found = tuple(objects)
    with_services = {one.namespace for one in found if isinstance(one.value, kubernetes.Service)}
    for gateway in gateways:
        chosen = [one for one in found if one.pod and _is_chosen(gateway.spec.selector, one.pod)]
        leading = [
            one.value
            for one in found
            if isinstance(one.value, kubernetes.Service)
            and any(pod.namespace == one.namespace and pod.pod and _leads(one.value, pod.pod) for pod in chosen)
        ]
        knows_services = any(pod.namespace in with_services for pod in chosen)
        ports = {number for service in leading for port in service.spec.ports or () for number in _numbers(port)}
        for index, server in enumerate(gateway.spec.servers):
            if knows_services and server.port.number not in ports:
                shown = ", ".join(map(str, sorted(ports))) or "none"
                finding = Finding(
                    code="CLV4119",
                    path=("spec", "servers", index, "port", "number"),
                    what=f"no Service leads to port {server.port.number} of the gateway's pods; they have {shown}",
                    severity="warning",
                    istio="IST0162",
                )
                yield problem_from(finding, gateway, origins)


def _is_chosen(selector: Mapping[str, str], pod: kubernetes.Pod) -> bool:
    return bool(selector) and selector.items() <= (pod.metadata.labels or {}).items()


def _leads(service: kubernetes.Service, pod: kubernetes.Pod) -> bool:
    return _is_chosen(service.spec.selector or {}, pod)


def _numbers(port: kubernetes.Port) -> tuple[int, ...]:
    return (port.port, port.target_port) if isinstance(port.target_port, int) else (port.port,)


def _services_agree(
    one: Object, pod: kubernetes.Pod, services: Iterable[tuple[str, kubernetes.Service]]
) -> Iterator[Problem]:
    """Services of one pod give a port one protocol, and a target port one port."""
    protocols: dict[int, dict[str, str]] = {}
    ports: dict[int | str, dict[int, str]] = {}
    for name, service in services:
        if not _leads(service, pod):
            continue
        for port in service.spec.ports or ():
            protocols.setdefault(port.port, {}).setdefault(port.protocol, name)
            ports.setdefault(port.target_port or port.port, {}).setdefault(port.port, name)
    for number, by in protocols.items():
        if len(by) > 1:
            what = f"port {number} has a protocol of its own in each of the Services {_listed(by.values())}"
            yield _problem(one, ("metadata", "name"), "CLV4113", "IST0116", what)
    for target, taken in ports.items():
        if len(taken) > 1:
            what = f"target port {target} is port {' and '.join(map(str, sorted(taken)))} of {_listed(taken.values())}"
            yield _problem(one, ("metadata", "name"), "CLV4113", "IST0137", what)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(set(names)))


def _problem(one: Object, path: Path, code: str, istio: str, what: str, hint: str = "") -> Problem:
    return Problem(
        code=code,
        where=str(one.document.mark(path)),
        what=f"{one.kind} {one.namespace}/{one.name}: field {dotted(path)!r}: {what}",
        hint=hint,
        severity="warning",
        istio=istio,
    )

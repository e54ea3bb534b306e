"""What each proxy knows of the mesh: everything that it may see, or what its Sidecar names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from clover.mesh.istio import hosts, resources
from clover.mesh.istio.kinds.sidecar import IstioEgressListener, IstioIngressListener
from clover.mesh.istio.kinds.virtual_service import Destination
from clover.mesh.istio.policies import Policies, labels_of
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.istio.resources import Sidecar

NO_NAMESPACE = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """A port of a service as a function dials it."""

    service: Service
    port: ServicePort
    number: int
    """What is dialled; the service's own number, unless a Sidecar says another."""
    bind: str = ""
    """The only address that is dialled, which a Sidecar may say; '': the service's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What some proxies know; equal views are one object, so that what follows from it is made once."""

    namespace: str
    dialled: tuple[Dialled, ...]
    services: tuple[Service, ...]
    """The same, once each, with the ports that are dialled."""
    narrow: bool
    """True: it is less than the namespace may see."""
    registry_only: bool
    """True: what no service claims goes nowhere."""
    proxy: Destination | None = None
    """Takes what no service claims, in the words of a Sidecar of `proxy_namespace`."""
    proxy_namespace: str = ""
    ingress: tuple[IstioIngressListener, ...] = ()
    """The only ports on which functions take traffic; empty: those of their services."""
    sources: tuple[str, ...] = ()


class Views:
    """The views of all proxies of a mesh."""

    def __init__(self, registry: Registry, policies: Policies) -> None:
        self._registry = registry
        self._found: dict[tuple[str, str], View] = {}
        self._sidecars: dict[str, list[Sidecar]] = {}
        for sidecar in policies.sidecars:
            self._sidecars.setdefault(sidecar.metadata.namespace, []).append(sidecar)

    def of(self, workload: Workload) -> View:
        """Return what the proxy of a workload knows."""
        sidecar = None if workload.gateway else self.sidecar_for(workload)
        same = (workload.namespace, resources.key(sidecar) if sidecar else "")
        if same not in self._found:
            self._found[same] = _view(workload.namespace, sidecar, self._registry)
        return self._found[same]

    def sidecar_for(self, workload: Workload) -> Sidecar | None:
        """Return the Sidecar that a workload obeys: its own, else its namespace's, else the mesh's."""
        own = self._sidecars.get(workload.namespace, ())
        labels = labels_of(workload)
        for sidecar in own:
            if (selector := sidecar.spec.workload_selector) and selector.labels.items() <= labels.items():
                return sidecar
        everywhere = self._sidecars.get(self._registry.config.root_namespace, ())
        return next((sidecar for sidecar in (*own, *everywhere) if sidecar.spec.workload_selector is None), None)


def _view(namespace: str, sidecar: Sidecar | None, registry: Registry) -> View:
    visible = tuple(service for service in registry.services if service.visible(namespace))
    egress = sidecar.spec.egress if sidecar else ()
    dialled = tuple(_dialled(egress, visible, namespace)) if egress else tuple(_everything(visible))
    policy = sidecar.spec.outbound_traffic_policy if sidecar else None
    mode = policy.mode if policy else registry.config.outbound_traffic_policy.mode
    return View(
        namespace=namespace,
        dialled=dialled,
        services=tuple(_once(dialled)) if egress else visible,
        narrow=bool(egress),
        registry_only=mode == "REGISTRY_ONLY",
        proxy=policy.egress_proxy if policy else None,
        proxy_namespace=sidecar.metadata.namespace if sidecar else "",
        ingress=sidecar.spec.ingress if sidecar else (),
        sources=(resources.key(sidecar),) if sidecar else (),
    )


def _everything(services: Iterable[Service]) -> Iterator[Dialled]:
    for service in services:
        for port in service.ports:
            yield Dialled(service=service, port=port, number=port.number)


def _dialled(egress: tuple[IstioEgressListener, ...], services: tuple[Service, ...], own: str) -> Iterator[Dialled]:
    """Yield what egress listeners let through; a port that one of them names is no business of those without."""
    locked = {listener.port.number for listener in egress if listener.port}
    seen: set[tuple[str, int, int]] = set()
    for listener in egress:
        for service in services:
            if not imports(listener, service, own):
                continue
            for port, number in ports_of(listener, service):
                same = (service.host, port.number, number)
                if same in seen or (listener.port is None and number in locked):
                    continue
                seen.add(same)
                yield Dialled(service=service, port=port, number=number, bind=listener.bind)


def ports_of(listener: IstioEgressListener, service: Service) -> Iterator[tuple[ServicePort, int]]:
    """Yield the ports of a service that an egress listener lets through, each with the number that is dialled."""
    if listener.port is None:
        yield from ((port, port.number) for port in service.ports)
        return
    # As on Istio: of a service with one port it is clear which one is meant, whatever number is dialled.
    for port in service.ports:
        if port.number == listener.port.number or len(service.ports) == 1:
            yield port, listener.port.number


def imports(listener: IstioEgressListener, service: Service, own: str) -> bool:
    """Tell whether an egress listener names a service."""
    for text in listener.hosts:
        namespace, _, host = text.rpartition("/")
        if namespace == NO_NAMESPACE:
            continue
        wanted = own if namespace == "." else namespace or "*"
        if wanted in ("*", service.namespace) and hosts.common(host.lower(), service.host) is not None:
            return True
    return False


def _once(dialled: Iterable[Dialled]) -> Iterator[Service]:
    ports: dict[str, dict[int, ServicePort]] = {}
    services: dict[str, Service] = {}
    for one in dialled:
        services[one.service.host] = one.service
        ports.setdefault(one.service.host, {})[one.port.number] = one.port
    for host, service in services.items():
        known = tuple(ports[host].values())
        yield service if known == service.ports else replace(service, ports=known)

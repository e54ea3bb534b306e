"""What exists in the mesh: services with their addresses, and the workloads behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clover.spec.mesh_config import DEFAULT_CONFIG, MeshConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a service; its protocol follows from its name, as on Kubernetes with Istio."""

    number: int
    name: str = ""
    """`http`, `grpc-control` ...: the part before `-` is the protocol; empty: recognised by its first bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A name that functions dial, at an address that only the mesh knows."""

    name: str
    namespace: str
    address: str
    """Virtual IPv4 address."""
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the workloads behind it; empty: those that say so themselves (`Workload.service`)."""

    @property
    def host(self) -> str:
        """Return the fully qualified host name."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One running instance of a function."""

    name: str
    service: str
    """Name of the service that it serves; a workload without a service (the gateway) has ''."""
    namespace: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """`app` and `version`, which subsets and selectors choose by."""
    ready: bool = True
    """False: it gets no traffic."""
    service_account: str = ""
    """Who it is: the last part of its SPIFFE id; '': the function's name, `app` of its labels."""
    gateway: bool = False
    """True: an ingress gateway, with the label `istio: ingressgateway`, and no interception."""

    def serves(self, service: Service) -> bool:
        """Tell whether it is one of the workloads behind a service."""
        if self.namespace != service.namespace:
            return False
        if service.selector:
            return service.selector.items() <= self.labels.items()
        return self.service == service.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All services and workloads of one mesh at one moment."""

    chain: str
    services: tuple[Service, ...]
    workloads: tuple[Workload, ...]
    config: MeshConfig = DEFAULT_CONFIG
    """What holds for the whole mesh."""
    complete: bool = True
    """False: it is read from files, which may leave out some of what exists."""

    def principal(self, workload: Workload) -> str:
        """Return a workload's SPIFFE id (SPIFFE-ID, section 2; the path is Istio's)."""
        account = workload.service_account or workload.labels.get("app") or workload.service or workload.name
        return f"spiffe://{self.config.trust_domain}/ns/{workload.namespace}/sa/{account}"

    def service(self, host: str, namespace: str = "default") -> Service | None:
        """Find a service by short name (as in `namespace`), `name.namespace`, `name.namespace.svc` or full name."""
        name, _, rest = host.partition(".")
        wanted = rest.removesuffix(".cluster.local").removesuffix(".svc") if rest else namespace
        for service in self.services:
            if service.name == name and service.namespace == wanted:
                return service
        return None

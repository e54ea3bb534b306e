"""What exists in the mesh: services with their addresses, and the workloads behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from clover.spec.mesh_config import DEFAULT_CONFIG, MeshConfig


class Resolution(StrEnum):
    """How the members of a service are found."""

    STATIC = "STATIC"
    """They are known, as those of the chain's own services are."""
    DNS = "DNS"
    """All addresses of a name are members."""
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """Each new connection takes the first address that a name has then."""
    NONE = "NONE"
    """Whatever address was dialled."""
    DYNAMIC_DNS = "DYNAMIC_DNS"
    """Whatever name was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a service; its protocol follows from its name, as on Kubernetes with Istio."""

    number: int
    name: str = ""
    """`http`, `grpc-control` ...: the part before `-` is the protocol; empty: recognised by its first bytes."""
    app_protocol: str = ""
    """Kubernetes' `appProtocol`, which decides before the name does."""
    protocol: str | None = None
    """Of a ServiceEntry: it decides alone, and '' is recognised by the first bytes; None: see the other two."""
    target_port: int | None = None
    """Where the members take the traffic; None: at `number`."""

    @property
    def target(self) -> int:
        """Return the port of the members."""
        return self.target_port or self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Outsider:
    """A member of a service that is no workload of the chain: of a ServiceEntry, or a WorkloadEntry."""

    address: str
    """IP address, name to resolve, or `unix://` and a path."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """By the name of the service's port."""
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    locality: str = ""
    """`region/zone/subzone`, as far as it is known."""
    service_account: str = ""
    loopback: bool = False
    """True: its author wants it to be this machine's own loopback, or a Unix socket of it."""

    def port_for(self, port: ServicePort) -> int:
        """Return where it takes the traffic of a service's port."""
        return self.ports.get(port.name) or port.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A name that functions dial, at an address that only the mesh knows."""

    name: str
    namespace: str
    address: str
    """Virtual IPv4 address; '': none, so that a Host or a server name must tell what is meant."""
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the workloads behind it; empty: those that say so themselves (`Workload.service`)."""
    hostname: str = ""
    """Host name, or a wildcard, of a ServiceEntry; '': it is made of name and namespace."""
    more_addresses: tuple[str, ...] = ()
    """Further virtual addresses."""
    networks: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`) all of whose addresses are its own."""
    resolution: Resolution = Resolution.STATIC
    outsiders: tuple[Outsider, ...] = ()
    """Members besides its workloads."""
    external: bool = False
    """True: its members have no sidecars (MESH_EXTERNAL)."""
    subject_alt_names: tuple[str, ...] = ()
    """Who its members prove to be; empty: nobody said."""
    namespaces: tuple[str, ...] = ()
    """Namespaces whose proxies know it; empty: all."""
    source: str = ""
    """The resource that it came from; '': the chain."""

    @property
    def host(self) -> str:
        """Return the fully qualified host name."""
        return self.hostname or f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return all virtual addresses."""
        return (self.address, *self.more_addresses) if self.address else ()

    def visible(self, seen_from: str) -> bool:
        """Tell whether proxies in the namespace `seen_from` know it."""
        return not self.namespaces or seen_from in self.namespaces


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
    """True: an ingress gateway, without interception; if no labels are said, with those of Istio's."""

    def serves(self, service: Service) -> bool:
        """Tell whether it is one of the workloads behind a service."""
        if self.namespace != service.namespace:
            return False
        if service.selector:
            return service.selector.items() <= self.labels.items()
        return self.service == service.name and not service.hostname


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
    tells_workloads: bool = True
    """False: it is read from files that say nothing of workloads, so that nobody knows their labels."""
    declared: tuple[str, ...] = ()
    """Namespaces that the files which it is read from speak of, where they declare any."""
    _named: Mapping[tuple[str, str], Service] = field(init=False, repr=False, compare=False)
    """By name and namespace."""
    _entered: Mapping[str, Service] = field(init=False, repr=False, compare=False)
    """By host, those of ServiceEntries."""
    namespaces: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Those in which there are workloads."""
    _serving: Mapping[tuple[str, ...], tuple[Workload, ...]] = field(init=False, repr=False, compare=False)
    """By namespace and service, and by namespace, label and its value."""

    def __post_init__(self) -> None:
        named: dict[tuple[str, str], Service] = {}
        entered: dict[str, Service] = {}
        for service in self.services:
            if service.hostname:
                entered.setdefault(service.hostname, service)
            else:
                named.setdefault((service.name, service.namespace), service)
        serving: dict[tuple[str, ...], list[Workload]] = {}
        for workload in self.workloads:
            for key in ((workload.service,), *workload.labels.items()):
                serving.setdefault((workload.namespace, *key), []).append(workload)
        object.__setattr__(self, "namespaces", tuple(dict.fromkeys(workload.namespace for workload in self.workloads)))
        object.__setattr__(self, "_named", named)
        object.__setattr__(self, "_entered", entered)
        object.__setattr__(self, "_serving", {key: tuple(found) for key, found in serving.items()})

    def members(self, service: Service) -> Iterator[Workload]:
        """Yield the workloads behind a service, ready or not."""
        keys = tuple(service.selector.items()) or ((service.name,),)
        # Whoever has the rarest of the labels is looked at; in a large mesh that is a handful.
        few = min((self._serving.get((service.namespace, *key), ()) for key in keys), key=len)
        return (workload for workload in few if workload.serves(service))

    def principal(self, workload: Workload) -> str:
        """Return a workload's SPIFFE id (SPIFFE-ID, section 2; the path is Istio's)."""
        account = workload.service_account or workload.labels.get("app") or workload.service or workload.name
        return f"spiffe://{self.config.trust_domain}/ns/{workload.namespace}/sa/{account}"

    def service(self, host: str, namespace: str = "default") -> Service | None:
        """
        Find a service by short name (as in `namespace`), `name.namespace`, `name.namespace.svc` or full name.

        That of a ServiceEntry is found by its whole host alone.
        """
        if host in self._entered:
            return self._entered[host]
        name, _, rest = host.partition(".")
        wanted = rest.removesuffix(".cluster.local").removesuffix(".svc") if rest else namespace
        return self._named.get((name, wanted))

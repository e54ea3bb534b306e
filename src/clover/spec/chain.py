"""The chain as its author means it: names, wiring and intent, with no addresses yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from clover.errors import Mark
from clover.spec.mesh_config import DEFAULTS, MeshSettings

if TYPE_CHECKING:
    from clover.spec.configuration import Configuration

DATA_PORT = 9180
"""Where a function listens for HTTP, unless its author says otherwise."""
CONTROL_PORT = 50054
"""Where a function's ambassador listens for gRPC."""


class FunctionType(StrEnum):
    """What a function does for the chain; an engine is how it does it."""

    FIREWALL = "firewall"
    LOAD_BALANCER = "load-balancer"
    CACHE = "cache"
    IDS = "ids"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a function: one workload, chosen among its siblings by route rules."""

    name: str
    """`v1`, `v2` ...; a function written without versions has the single version `v1`."""
    engine: str
    """`nginx`, `haproxy`, `modsecurity`, or `command` for the author's own server."""
    to: tuple[str, ...] = ()
    """Functions of the same chain that this one sends to, in the order written; if its author names backends and no
    `to`, those."""
    configuration: Configuration
    """What it is told; its backends are those of `to`, unless its author says otherwise."""
    command: tuple[str, ...] = ()
    """The author's own server, found on PATH or relative to the chain file; only with the engine `command`."""
    mark: Mark
    to_marks: tuple[Mark, ...] = ()
    """Where each name of `to` is written."""
    config_mark: Mark | None = None
    """Where its `config` is written; None: it has none of its own."""
    backend_marks: tuple[Mark, ...] = ()
    """Where each backend of `config` is written; empty when its backends follow from `to`."""
    engine_mark: Mark | None = None
    """Where the engine or the command is written, or what stands nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One network function of the chain, in one or more versions behind one service name."""

    name: str
    type: FunctionType
    versions: tuple[Version, ...]
    """Never empty; in the order written."""
    port: int = DATA_PORT
    """TCP port that the service is dialled on, and that every version's engine listens on."""
    mirror_to: str | None = None
    """A function that gets a copy of each request sent to this one, its answers discarded; None: no copy."""
    mark: Mark
    mirror_mark: Mark | None = None
    port_mark: Mark | None = None
    """Where the port is written, or what stands nearest."""

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Every function that some version sends to, in the order written, each once."""
        return tuple(dict.fromkeys(name for version in self.versions for name in version.to))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where requests enter the chain."""

    to: str
    port: int = 8080
    """TCP port on the host."""
    address: str = "127.0.0.1"
    """Host address to listen on; loopback unless the author says otherwise."""
    mark: Mark
    to_mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A whole chain, as written in one document."""

    name: str
    namespace: str = "default"
    """Namespace of its services: `http-lb.<namespace>.svc.cluster.local`."""
    gateway: Gateway
    functions: Mapping[str, Function] = field(default_factory=dict)
    mark: Mark
    """Where its name is written."""
    namespace_mark: Mark | None = None
    """Where its namespace is written, or what stands nearest."""
    directory: str = "."
    """Folder of the chain file: relative commands start there."""
    mesh: MeshSettings = DEFAULTS
    """How its functions trust each other, and what holds for the mesh as a whole."""

    def workloads(self) -> Iterator[tuple[Function, Version]]:
        """Yield every function and version pair; each is one workload."""
        for function in self.functions.values():
            for version in function.versions:
                yield function, version

    def authorizers(self) -> frozenset[str]:
        """Return the functions that the mesh's extension providers ask: any workload may have to."""
        asked = (
            one.service.rpartition("/")[2].split(".")
            for provider in self.mesh.config.extension_providers
            for one in (provider.envoy_ext_authz_grpc, provider.envoy_ext_authz_http)
            if one is not None
        )
        return frozenset(name for name, *rest in asked if name in self.functions and rest[:1] in ([], [self.namespace]))


def workload_name(function: Function, version: Version) -> str:
    """Return the workload's name: the function's own when it has one version, else `http-lb-v1`."""
    return function.name if len(function.versions) == 1 else f"{function.name}-{version.name}"


def renamed(chain: Chain, *, name: str = "", port: int = 0) -> Chain:
    """Return the chain under another name, or with another gateway port; '' and 0 keep what it has."""
    gateway = replace(chain.gateway, port=port or chain.gateway.port)
    return replace(chain, name=name or chain.name, gateway=gateway)

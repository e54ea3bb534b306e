"""Which PeerAuthentication decides about which port of a workload: Istio's precedence, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from clover.mesh.istio.kinds.peer_authentication import Mode, MutualTLS
from clover.mesh.istio.policies import Policies, labels_of
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.resources import PeerAuthentication

DEFAULT: Mode = "PERMISSIVE"
"""What holds when nobody says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerModes:
    """Which connections a workload takes: never `UNSET`."""

    mode: Mode = DEFAULT
    ports: Mapping[int, Mode] = field(default_factory=dict)
    """Ports of the workload for which something else is said."""
    sources: tuple[PeerAuthentication, ...] = ()
    """The policies that are for the workload, the widest first."""

    def at(self, port: int) -> Mode:
        """Return the mode of one port of the workload."""
        return self.ports.get(port, self.mode)


def modes_of(workload: Workload, registry: Registry, policies: Policies) -> PeerModes:
    """
    Return what all PeerAuthentications together say about a workload.

    The narrower one wins: of its labels, of its namespace, of the mesh. Within one scope there is one that counts; with
    no time of creation to go by, as Istio has, it is the first by namespace and name.
    """
    mode: Mode = DEFAULT
    ports: dict[int, Mode] = {}
    sources = tuple(_scopes(workload, registry, policies))
    for policy in sources:
        mode = _said(policy.spec.mtls) or mode
        ports = {int(port): _said(said) or mode for port, said in policy.spec.port_level_mtls.items()}
    return PeerModes(mode=mode, ports=ports, sources=sources)


def _scopes(workload: Workload, registry: Registry, policies: Policies) -> Iterator[PeerAuthentication]:
    """Yield the policy of the mesh, of the namespace and of the workload, as far as there are such."""
    found: dict[str, PeerAuthentication] = {}
    for policy in policies.peer_authentications:
        scope = scope_of(policy, registry)
        if scope == "mesh" or (policy.metadata.namespace == workload.namespace and chosen(policy, workload)):
            found.setdefault(scope, policy)
    for scope in ("mesh", "namespace", "workload"):
        if scope in found:
            yield found[scope]


def scope_of(policy: PeerAuthentication, registry: Registry) -> str:
    """Return how much a policy is for; `nothing`: labels in the root namespace, which Istio passes over."""
    root = policy.metadata.namespace == registry.config.root_namespace
    if policy.spec.chooses:
        return "nothing" if root else "workload"
    return "mesh" if root else "namespace"


def chosen(policy: PeerAuthentication, workload: Workload) -> bool:
    """Tell whether a workload has the labels that a policy asks for."""
    selector = policy.spec.selector
    return selector is None or selector.match_labels.items() <= labels_of(workload).items()


def _said(mtls: MutualTLS | None) -> Mode | None:
    return None if mtls is None or mtls.mode == "UNSET" else mtls.mode

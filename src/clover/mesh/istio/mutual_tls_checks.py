"""Do both sides of a connection agree on mutual TLS: a DestinationRule, and the PeerAuthentications beyond it?"""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio import hosts, resources
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.kinds.destination_rule import ClientTLSSettings, Subset
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.peer_modes import PeerModes, modes_of
from clover.mesh.istio.policies import members, policy_for
from clover.mesh.istio.registry import Service, ServicePort
from clover.mesh.istio.resources import DestinationRule


def both_sides_agree(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Clients use mutual TLS towards those who insist on it, and not towards those who take none."""
    told: set[Path] = set()
    for service in mesh.covered(hosts.full_host(resource.spec.host, resource.metadata.namespace)):
        for port in service.ports:
            for index, subset in ((None, None), *enumerate(resource.spec.subsets)):
                tls = policy_for(resource, port.number, subset).tls
                path = _path(resource, port.number, index)
                if tls is None or path in told:
                    continue
                for finding in _disagreement(tls, path, service, port, subset, mesh):
                    told.add(path)
                    yield finding


def _disagreement(
    tls: ClientTLSSettings, path: Path, service: Service, port: ServicePort, subset: Subset | None, mesh: Mesh
) -> Iterator[Finding]:
    mutual = tls.mode == "ISTIO_MUTUAL"
    refused = "DISABLE" if mutual else "STRICT"
    for workload in members(mesh.registry, service, subset):
        modes = modes_of(workload, mesh.registry, mesh.policies)
        if modes.at(port.target) != refused:
            continue
        why = _because(modes)
        if mutual:
            what = f"{service.name!r} takes no mutual TLS at port {port.number} ({why}), and {tls.mode!r} asks for it"
            hint = "take 'tls' away: mutual TLS is used where it is taken"
        else:
            what = f"{service.name!r} takes mutual TLS only at port {port.number} ({why}), and {tls.mode!r} uses none"
            hint = "say 'ISTIO_MUTUAL', or take 'tls' away, or let the PeerAuthentication say 'PERMISSIVE'"
        yield Finding(code="CLV4232", path=(*path, "mode"), what=what, hint=hint, severity="warning", istio="IST0113")
        return


def _because(modes: PeerModes) -> str:
    """Name the policy that decides about a workload, as far as there is one."""
    name = resources.key(modes.sources[-1]) if modes.sources else "nobody says otherwise"
    return name.replace("/", " ", 1)


def _path(resource: DestinationRule, port: int, index: int | None) -> Path:
    """Return where the TLS of a port and subset is written."""
    spec = resource.spec
    if index is not None and (policy := spec.subsets[index].traffic_policy):
        here: Path = ("spec", "subsets", index, "trafficPolicy")
        for number, setting in enumerate(policy.port_level_settings):
            if setting.port.number == port:
                return (*here, "portLevelSettings", number, "tls")
        if policy.tls:
            return (*here, "tls")
    if spec.traffic_policy:
        for number, setting in enumerate(spec.traffic_policy.port_level_settings):
            if setting.port.number == port:
                return ("spec", "trafficPolicy", "portLevelSettings", number, "tls")
    return ("spec", "trafficPolicy", "tls")

"""PeerAuthentications and the TLS of DestinationRules: who is asked for a certificate, and who shows one to whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from clover.mesh import credentials, ir
from clover.mesh.istio.kinds.destination_rule import ClientTLSSettings
from clover.mesh.istio.peer_modes import modes_of
from clover.mesh.istio.policies import Policies, members
from clover.mesh.istio.registry import Registry, Service, Workload

_SPIFFE = "spiffe://"


def with_peers(
    ports: Iterable[ir.InboundPort], workload: Workload, registry: Registry, policies: Policies
) -> tuple[tuple[ir.InboundPort, ...], ir.Peers]:
    """Return a workload's ports with the connections that each takes, and what holds for all others."""
    modes = modes_of(workload, registry, policies)
    known = tuple(ports)
    numbers = {port.port for port in known}
    return (
        tuple(replace(port, peers=ir.PeerMode[modes.at(port.port)]) for port in known),
        ir.Peers(
            domains=(registry.config.trust_domain, *registry.config.trust_domain_aliases),
            mode=ir.PeerMode[modes.mode],
            ports=tuple((port, ir.PeerMode[mode]) for port, mode in sorted(modes.ports.items()) if port not in numbers),
        ),
    )


def takes_mutual_tls(workload: Workload, port: int, registry: Registry, policies: Policies) -> bool:
    """Tell whether a workload's sidecar takes mutual TLS at one of its ports."""
    return not workload.gateway and modes_of(workload, registry, policies).at(port) != "DISABLE"


def client_tls(
    settings: ClientTLSSettings | None, service: Service, port: int, subset: str, registry: Registry
) -> ir.MeshTls | ir.OriginTls | None:
    """Return how connections to a service port are encrypted; without settings, mutual TLS where it is taken."""
    if settings is None:
        if service.external or not registry.config.enable_auto_mtls:
            return None
        return _mesh_tls(service, port, subset, registry, detected=True)
    if settings.mode == "DISABLE":
        return None
    if settings.mode == "ISTIO_MUTUAL":
        return _mesh_tls(service, port, subset, registry, settings=settings)
    return ir.OriginTls(
        sni=settings.sni,
        names=settings.subject_alt_names,
        roots=""
        if settings.insecure_skip_verify
        else credentials.roots_name(certificates=settings.ca_certificates, credential=settings.credential_name),
        identity=credentials.identity_name(
            certificate=settings.client_certificate, key=settings.private_key, credential=settings.credential_name
        )
        if settings.mode == "MUTUAL"
        else "",
    )


def _mesh_tls(
    service: Service,
    port: int,
    subset: str,
    registry: Registry,
    *,
    settings: ClientTLSSettings | None = None,
    detected: bool = False,
) -> ir.MeshTls:
    said = settings or ClientTLSSettings()
    return ir.MeshTls(
        sni=said.sni or f"outbound_.{port}_.{subset}_.{service.host}",
        principals=said.subject_alt_names or principals_behind(service, registry),
        detected=detected,
    )


def principals_behind(service: Service, registry: Registry) -> tuple[str, ...]:
    """Return the SPIFFE ids of all members of a service, in every name of the trust domain."""
    own = [registry.principal(workload) for workload in members(registry, service)]
    accounts = dict.fromkeys(member.service_account for member in service.outsiders if member.service_account)
    domain = registry.config.trust_domain
    own += [f"{_SPIFFE}{domain}/ns/{service.namespace}/sa/{account}" for account in accounts]
    domains = (domain, *registry.config.trust_domain_aliases)
    told = service.subject_alt_names
    return tuple(sorted({*told, *(f"{_SPIFFE}{each}{_path(name)}" for name in own for each in domains)}))


def _path(principal: str) -> str:
    """Return a SPIFFE id without its trust domain."""
    return principal[principal.index("/", len(_SPIFFE)) :]

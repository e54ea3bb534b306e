"""What a DestinationRule leaves out, or says in words that Istio has given up."""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.kinds.destination_rule import PolicyParts
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.resources import DestinationRule


def servers_are_verified(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Who uses TLS wants to know whom it is that answers."""
    for part, path, istio in _parts(resource):
        tls = part.tls
        if tls is None or tls.mode not in ("SIMPLE", "MUTUAL") or tls.ca_certificates or tls.credential_name:
            continue
        what = "no authority is named; any server will do whose certificate this machine believes"
        hint = "name the authority in 'caCertificates', and the server in 'subjectAltNames'"
        if tls.insecure_skip_verify:
            what, hint = "any server will do, whatever certificate it shows", "take 'insecureSkipVerify' away"
        yield Finding(code="CLV4117", path=(*path, "tls"), what=what, hint=hint, severity="warning", istio=istio)


def _parts(resource: DestinationRule) -> Iterator[tuple[PolicyParts, Path, str]]:
    """Yield all settings, where they are, and what Istio calls it when they verify nobody."""
    policies: list[tuple[PolicyParts | None, Path]] = [(resource.spec.traffic_policy, ("spec", "trafficPolicy"))]
    for index, subset in enumerate(resource.spec.subsets):
        policies.append((subset.traffic_policy, ("spec", "subsets", index, "trafficPolicy")))
    for policy, path in policies:
        if policy is None:
            continue
        yield policy, path, "IST0128"
        for index, setting in enumerate(getattr(policy, "port_level_settings", ())):
            yield setting, (*path, "portLevelSettings", index), "IST0129"


def words_are_current(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """What Istio has another word for by now, it may not understand for long."""
    for part, path, _ in _parts(resource):
        balancer = part.load_balancer
        if balancer and balancer.simple == "LEAST_CONN":
            yield given_up((*path, "loadBalancer", "simple"), "'LEAST_CONN'", "'LEAST_REQUEST', which means the same")
        if balancer and balancer.warmup_duration_secs is not None:
            yield given_up(
                (*path, "loadBalancer", "warmupDurationSecs"), "'warmupDurationSecs'", "'warmup: {duration: ...}'"
            )
        if balancer and balancer.consistent_hash and balancer.consistent_hash.minimum_ring_size is not None:
            here = (*path, "loadBalancer", "consistentHash", "minimumRingSize")
            yield given_up(here, "'minimumRingSize'", "'ringHash: {minimumRingSize: ...}'")


def given_up(path: Path, old: str, new: str) -> Finding:
    """Return that Istio has another word for something."""
    what, hint = f"{old} is deprecated", f"write {new}"
    return Finding(code="CLV4118", path=path, what=what, hint=hint, severity="warning", istio="IST0002")


RULES = (servers_are_verified, words_are_current)

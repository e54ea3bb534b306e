"""Principals and trust domains under the names that a trust domain has had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clover.spec.mesh_config import MeshConfig

_LOCAL = "cluster.local"
"""In a policy, it stands for the mesh's own trust domain, whatever its name is."""
_PARTS_OF_PRINCIPAL = 5
"""`<trust domain>/ns/<namespace>/sa/<service account>`"""


def in_every_trust_domain(principals: Sequence[str], config: MeshConfig) -> tuple[str, ...]:
    """Return principals of the mesh's trust domain under each of its names, and all others as they are."""
    return tuple(name for principal in principals for name in _names_of(principal, config))


def trust_domains_named(values: Sequence[str], config: MeshConfig) -> tuple[str, ...]:
    """Return trust domains, the mesh's own one with all its names."""
    own = _own(config)
    return tuple(dict.fromkeys(name for value in values for name in (own if value in own else (value,))))


def _own(config: MeshConfig) -> tuple[str, ...]:
    return (config.trust_domain, *config.trust_domain_aliases)


def _names_of(principal: str, config: MeshConfig) -> Iterable[str]:
    domain, _, rest = principal.partition("/")
    if principal.count("/") != _PARTS_OF_PRINCIPAL - 1 or domain == "*":
        return (principal,)
    own = _own(config)
    if domain != _LOCAL and not any(_is(domain, known) for known in own):
        return (principal,)
    # A pattern stays as it is for the names that it covers, and is replaced by each that it does not.
    return dict.fromkeys(principal if _covers(domain, known) else f"{known}/{rest}" for known in own)


def _is(pattern: str, domain: str) -> bool:
    return _covers(pattern, domain) or (pattern.endswith("*") and domain.startswith(pattern[:-1]))


def _covers(pattern: str, domain: str) -> bool:
    return pattern == domain or (pattern.startswith("*") and domain.endswith(pattern[1:]))

"""RequestAuthentications into whose tokens a workload believes."""

from __future__ import annotations

from dataclasses import replace

from clover.mesh.authentication import Authentication, Issuer, Keys
from clover.mesh.istio import resources
from clover.mesh.istio.kinds.request_authentication import JWTRule
from clover.mesh.istio.policies import Policies
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.request_authentications import keys_service
from clover.mesh.istio.selection import gateways_named, is_for, ports_named
from clover.mesh.translate.clusters import cluster_name

_LISTS = frozenset({"scope", "permission"})
"""Claims that are lists of words everywhere on Istio."""


def authentication_of(workload: Workload, registry: Registry, policies: Policies) -> Authentication:
    """Return every request authentication that is for a workload: all rules of all policies, by issuer."""
    chosen = [
        policy
        for policy in policies.request_authentications
        if is_for(policy, workload, registry, policies, selector=policy.spec.selector, targets=policy.spec.targets())
    ]
    issuers = [
        replace(
            _issuer(rule, registry, policy.metadata.namespace),
            ports=ports_named(policy.spec.targets(), workload, registry, namespace=policy.metadata.namespace),
            gateways=gateways_named(policy.spec.targets(), namespace=policy.metadata.namespace),
        )
        for policy in chosen
        for rule in policy.spec.jwt_rules
    ]
    return Authentication(
        issuers=tuple(sorted(issuers, key=lambda issuer: issuer.name)),
        # As on Istio: a sidecar has one way in, and chooses none.
        decides_routes=workload.gateway and bool(issuers),
        sources=tuple(resources.key(policy) for policy in chosen),
    )


def _issuer(rule: JWTRule, registry: Registry, namespace: str) -> Issuer:
    return Issuer(
        name=rule.issuer or "",
        keys=_keys(rule, registry, namespace),
        audiences=rule.audiences,
        headers=tuple((header.name, header.prefix) for header in rule.from_headers),
        parameters=rule.from_params,
        cookies=rule.from_cookies,
        required=rule.presence == "REQUIRED",
        forward=rule.forward_original_token,
        payload_header=rule.output_payload_to_header,
        claim_headers=tuple((output.claim, output.header) for output in rule.output_claim_to_headers),
        lists=tuple(sorted(_LISTS.union(rule.space_delimited_claims))),
    )


def _keys(rule: JWTRule, registry: Registry, namespace: str) -> Keys:
    if rule.jwks_uri is None:
        return Keys(inline=rule.jwks or "")
    found = keys_service(rule.jwks_uri, registry, namespace)
    if found is None:
        raise LookupError(f"the keys' address {rule.jwks_uri!r} was not validated against the registry")
    return Keys(uri=rule.jwks_uri, cluster=cluster_name(*found), timeout_s=rule.timeout or Keys().timeout_s)

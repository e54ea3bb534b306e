"""Istio's AuthorizationPolicy."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import Part, SecurityResource


class AuthorizationPolicySpec(Part):
    """Who may call a workload."""


class AuthorizationPolicy(SecurityResource):
    """Istio's AuthorizationPolicy."""

    kind: Literal["AuthorizationPolicy"] = "AuthorizationPolicy"
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()

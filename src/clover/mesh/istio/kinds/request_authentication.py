"""Istio's RequestAuthentication."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import Part, SecurityResource


class RequestAuthenticationSpec(Part):
    """Whose tokens a workload believes."""


class RequestAuthentication(SecurityResource):
    """Istio's RequestAuthentication."""

    kind: Literal["RequestAuthentication"] = "RequestAuthentication"
    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()

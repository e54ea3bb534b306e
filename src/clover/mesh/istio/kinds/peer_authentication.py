"""Istio's PeerAuthentication."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import Part, SecurityResource


class PeerAuthenticationSpec(Part):
    """Which connections a workload takes."""


class PeerAuthentication(SecurityResource):
    """Istio's PeerAuthentication."""

    kind: Literal["PeerAuthentication"] = "PeerAuthentication"
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()

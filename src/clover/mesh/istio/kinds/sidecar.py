"""Istio's Sidecar."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import NetworkingResource, Part


class SidecarSpec(Part):
    """What a workload's proxy knows of the mesh."""


class Sidecar(NetworkingResource):
    """Istio's Sidecar."""

    kind: Literal["Sidecar"] = "Sidecar"
    spec: SidecarSpec = SidecarSpec()

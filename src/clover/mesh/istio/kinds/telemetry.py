"""Istio's Telemetry."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import Part, TelemetryResource


class TelemetrySpec(Part):
    """What proxies report."""


class Telemetry(TelemetryResource):
    """Istio's Telemetry."""

    kind: Literal["Telemetry"] = "Telemetry"
    spec: TelemetrySpec = TelemetrySpec()

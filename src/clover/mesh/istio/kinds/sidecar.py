"""Istio's Sidecar."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clover.mesh.istio.kinds.part import NetworkingResource, NonEmpty, Part
from clover.mesh.istio.kinds.service_entry import EntryPort, WorkloadSelector
from clover.mesh.istio.kinds.virtual_service import Destination

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(EntryPort):
    """A port that a sidecar takes traffic on; its `targetPort` says nothing, as on Istio."""


class IstioIngressListener(Part):
    """A port on which the sidecar takes traffic for its function."""

    unsupported = frozenset({"tls", "connectionPool"})

    port: SidecarPort
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"
    default_endpoint: str = ""
    """Where the function takes it: `127.0.0.1:PORT`, `0.0.0.0:PORT` or `unix:///path`; '': where it was sent to."""


class IstioEgressListener(Part):
    """Services that the function may dial: on one port, or on all that no other of these has."""

    port: SidecarPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"
    hosts: tuple[NonEmpty, ...] = Field(min_length=1)
    """`namespace/host`, either with a wildcard; `.` is the own namespace, `~` is none."""


class OutboundTrafficPolicy(Part):
    """What happens to traffic for hosts that are not among the services."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    egress_proxy: Destination | None = None
    """Takes it all, instead of where it was sent to."""


class SidecarSpec(Part):
    """What a workload's proxy knows of the mesh."""

    unsupported = frozenset({"inboundConnectionPool"})

    workload_selector: WorkloadSelector | None = None
    """None: all workloads of the namespace; of all namespaces, in the root namespace."""
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(NetworkingResource):
    """Istio's Sidecar."""

    kind: Literal["Sidecar"] = "Sidecar"
    spec: SidecarSpec = SidecarSpec.model_construct()

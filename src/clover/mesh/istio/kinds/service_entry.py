"""Istio's ServiceEntry and WorkloadEntry: services, and members of services, that the chain does not have itself."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import NetworkingResource, Part


class ServiceEntrySpec(Part):
    """A service that is not the chain's."""


class ServiceEntry(NetworkingResource):
    """Istio's ServiceEntry."""

    kind: Literal["ServiceEntry"] = "ServiceEntry"
    spec: ServiceEntrySpec = ServiceEntrySpec()


class WorkloadEntrySpec(Part):
    """A member of a service that is not the chain's."""


class WorkloadEntry(NetworkingResource):
    """Istio's WorkloadEntry."""

    kind: Literal["WorkloadEntry"] = "WorkloadEntry"
    spec: WorkloadEntrySpec = WorkloadEntrySpec()

"""RequestAuthentications into whose tokens a workload believes."""

from __future__ import annotations

from clover.mesh.authentication import Authentication
from clover.mesh.istio.policies import Policies
from clover.mesh.istio.registry import Registry, Workload


def authentication_of(workload: Workload, registry: Registry, policies: Policies) -> Authentication:
    """Return every request authentication that is for a workload."""
    return Authentication()

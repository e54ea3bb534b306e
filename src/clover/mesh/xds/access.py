"""Authorization: Envoy's RBAC and external authorization filters."""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from clover.mesh.access import Access


def http_filters(access: Access) -> tuple[tuple[HttpFilter, ...], tuple[HttpFilter, ...]]:
    """Return the filters in front of a workload's HTTP: CUSTOM, before tokens are read; and AUDIT, DENY, ALLOW."""
    return (), ()


def tcp_filters(access: Access) -> tuple[Filter, ...]:
    """Return the filters in front of a workload's TCP, in the same order."""
    return ()


def clusters_of(access: Access) -> tuple[str, ...]:
    """Return the clusters that the filters ask."""
    return ()

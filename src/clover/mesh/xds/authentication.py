"""Request authentication: Envoy's JWT filter."""

from __future__ import annotations

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from clover.mesh.authentication import Authentication


def http_filters(authentication: Authentication) -> tuple[HttpFilter, ...]:
    """Return the filter that reads tokens, before anything that decides by them."""
    return ()


def clusters_of(authentication: Authentication) -> tuple[str, ...]:
    """Return the clusters from which keys are fetched."""
    return ()

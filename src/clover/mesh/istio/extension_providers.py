"""Whom the mesh's extension providers ask."""

from __future__ import annotations

from clover.mesh.istio.registry import Registry, Service
from clover.spec.mesh_config import ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider


def asked_by(provider: ExtensionProvider) -> ExtAuthzGrpc | ExtAuthzHttp:
    """Return how a provider is asked."""
    found = provider.envoy_ext_authz_grpc or provider.envoy_ext_authz_http
    if found is None:
        raise ValueError(f"extension provider {provider.name!r} says neither how nor whom to ask")
    return found


def service_of(asked: ExtAuthzGrpc | ExtAuthzHttp, registry: Registry) -> Service | None:
    """Find a provider's service, written as `host` or `namespace/host`; None: it or its port is not there."""
    namespace, _, host = asked.service.rpartition("/")
    service = registry.service(host, namespace or "default")
    if service is None or (namespace and service.namespace != namespace):
        return None
    return service if any(port.number == asked.port for port in service.ports) else None

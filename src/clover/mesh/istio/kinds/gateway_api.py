"""The Kubernetes Gateway API: Gateway, HTTPRoute, GRPCRoute and ReferenceGrant."""

from __future__ import annotations

from typing import Literal

from clover.mesh.istio.kinds.part import GatewayApiResource, Part


class KubernetesGatewaySpec(Part):
    """Where traffic enters the mesh."""


class KubernetesGateway(GatewayApiResource):
    """The Gateway API's Gateway."""

    qualified = True

    kind: Literal["Gateway"] = "Gateway"
    spec: KubernetesGatewaySpec = KubernetesGatewaySpec()


class HTTPRouteSpec(Part):
    """How HTTP requests are routed."""


class HTTPRoute(GatewayApiResource):
    """The Gateway API's HTTPRoute."""

    kind: Literal["HTTPRoute"] = "HTTPRoute"
    spec: HTTPRouteSpec = HTTPRouteSpec()


class GRPCRouteSpec(Part):
    """How gRPC calls are routed."""


class GRPCRoute(GatewayApiResource):
    """The Gateway API's GRPCRoute."""

    kind: Literal["GRPCRoute"] = "GRPCRoute"
    spec: GRPCRouteSpec = GRPCRouteSpec()


class ReferenceGrantSpec(Part):
    """Who may refer to objects of another namespace."""


class ReferenceGrant(GatewayApiResource):
    """The Gateway API's ReferenceGrant."""

    api_versions = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")

    kind: Literal["ReferenceGrant"] = "ReferenceGrant"
    spec: ReferenceGrantSpec = ReferenceGrantSpec()

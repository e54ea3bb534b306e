"""The Gateway API's Gateway."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.gateway_api import GROUP, Hostname, SectionName
from clover.mesh.istio.kinds.part import GatewayApiResource, NonEmpty, Part, Port


class LabelExpression(Part):
    """A test of one label."""

    key: NonEmpty
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(Part):
    """Chooses namespaces by labels; here each has the one that Kubernetes gives it: `kubernetes.io/metadata.name`."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[LabelExpression, ...] = ()


class RouteNamespaces(Part):
    """From which namespaces routes may be attached."""

    from_: Literal["All", "Selector", "Same"] = Field(default="Same", alias="from")
    selector: LabelSelector | None = None

    @model_validator(mode="after")
    def _selects_when_it_says_so(self) -> Self:
        if self.from_ == "Selector" and self.selector is None:
            raise PydanticCustomError("selector", "'from' is 'Selector', and there is no 'selector'")
        return self


class RouteGroupKind(Part):
    """A kind of routes."""

    group: str = GROUP
    kind: NonEmpty


class AllowedRoutes(Part):
    """Which routes may be attached to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = Field(default=(), max_length=8)
    """Empty: all that the protocol can carry."""


class Listener(Part):
    """A port that the gateway opens, and the hosts that are served on it."""

    unsupported = frozenset({"tls"})

    name: SectionName
    hostname: Hostname | None = None
    """None: every host."""
    port: Port
    protocol: NonEmpty
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(Part):
    """An address to listen on."""

    type: str = "IPAddress"
    value: str = ""
    """Empty: 127.0.0.1."""


class KubernetesGatewaySpec(Part):
    """Where traffic enters the mesh."""

    unsupported = frozenset({"infrastructure", "allowedListeners", "tls", "defaultScope"})

    gateway_class_name: NonEmpty
    listeners: tuple[Listener, ...] = Field(min_length=1, max_length=64)
    addresses: tuple[GatewayAddress, ...] = Field(default=(), max_length=16)
    """Empty: 127.0.0.1."""


class KubernetesGateway(GatewayApiResource):
    """The Gateway API's Gateway."""

    qualified = True

    kind: Literal["Gateway"] = "Gateway"
    spec: KubernetesGatewaySpec

"""The Gateway API's Gateway."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.gateway_api import GROUP, Hostname, Reference, SectionName
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

    namespaces: RouteNamespaces = RouteNamespaces.model_construct()
    kinds: tuple[RouteGroupKind, ...] = Field(default=(), max_length=8)
    """Empty: all that the protocol can carry."""


class SecretReference(Reference):
    """A folder of credentials, called as a Secret: `tls.crt` and `tls.key`."""

    kind: NonEmpty = "Secret"
    name: SectionName


class AuthoritiesReference(Reference):
    """A folder of credentials, called as a ConfigMap or a Secret: `ca.crt`."""

    group: str
    name: SectionName


class ListenerTLS(Part):
    """What becomes of the TLS of clients."""

    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: tuple[SecretReference, ...] = Field(default=(), max_length=64)
    options: dict[str, str] = Field(default_factory=dict, max_length=16)
    """Istio's: `TERMINATE_MODE` and `CIPHER_SUITES`."""


TERMINATE_MODE = "gateway.istio.io/tls-terminate-mode"
"""Option: one of `TERMINATE_MODES`, in place of what the Gateway says about certificates of clients."""
TERMINATE_MODES = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL")
CIPHER_SUITES = "gateway.istio.io/tls-cipher-suites"
"""Option: names with commas between them."""


class FrontendValidation(Part):
    """Whose certificates clients must show."""

    ca_certificate_refs: tuple[AuthoritiesReference, ...] = Field(min_length=1, max_length=16)
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = "AllowValidOnly"


class FrontendTLS(Part):
    """What is asked of clients."""

    validation: FrontendValidation | None = None
    """None: they show no certificate."""


class PortTLS(Part):
    """What is asked of the clients of one port."""

    port: Port
    tls: FrontendTLS


class GatewayFrontend(Part):
    """What is asked of clients, port by port."""

    default: FrontendTLS
    per_port: tuple[PortTLS, ...] = Field(default=(), max_length=64)
    """In the place of `default`."""

    @model_validator(mode="after")
    def _says_it_once_for_a_port(self) -> Self:
        ports = [one.port for one in self.per_port]
        if len(set(ports)) < len(ports):
            raise PydanticCustomError("ports", "a port is written twice in 'perPort'")
        return self


class GatewayTLS(Part):
    """TLS of the whole Gateway."""

    unsupported = frozenset({"backend"})

    frontend: GatewayFrontend | None = None


class Listener(Part):
    """A port that the gateway opens, and the hosts that are served on it."""

    name: SectionName
    hostname: Hostname | None = None
    """None: every host."""
    port: Port
    protocol: NonEmpty
    tls: ListenerTLS | None = None
    """None: plain text."""
    allowed_routes: AllowedRoutes = AllowedRoutes.model_construct()


class GatewayAddress(Part):
    """An address to listen on."""

    type: str = "IPAddress"
    value: str = ""
    """Empty: 127.0.0.1."""


class KubernetesGatewaySpec(Part):
    """Where traffic enters the mesh."""

    unsupported = frozenset({"infrastructure", "allowedListeners", "defaultScope"})

    gateway_class_name: NonEmpty
    listeners: tuple[Listener, ...] = Field(min_length=1, max_length=64)
    addresses: tuple[GatewayAddress, ...] = Field(default=(), max_length=16)
    """Empty: 127.0.0.1."""
    tls: GatewayTLS | None = None

    def asked_of_clients(self, port: int) -> FrontendValidation | None:
        """Return whose certificates clients of a port must show; None: none."""
        if self.tls is None or self.tls.frontend is None:
            return None
        frontend = self.tls.frontend
        own = next((one.tls for one in frontend.per_port if one.port == port), frontend.default)
        return own.validation


class KubernetesGateway(GatewayApiResource):
    """The Gateway API's Gateway."""

    qualified = True

    kind: Literal["Gateway"] = "Gateway"
    spec: KubernetesGatewaySpec

"""What a chain says about its mesh as a whole: `spec.mesh` of the chain file.

`config` has the fields of Istio's MeshConfig that Clover carries out, under Istio's names, so that the same text can
stand in a cluster's configuration. What is Clover's own stands beside it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from clover.spec.configuration import Part, Port, Seconds

_TRUST_DOMAIN = r"^[a-z0-9]([-a-z0-9._]*[a-z0-9])?$"
TrustDomain = Annotated[str, Field(max_length=255, pattern=_TRUST_DOMAIN)]
_LETTERS = r"[A-Za-z0-9_.-]+"
HeaderName = Annotated[str, Field(max_length=256, pattern=rf"^{_LETTERS}$")]
HeaderNames = Annotated[str, Field(max_length=256, pattern=rf"^\*?{_LETTERS}$|^{_LETTERS}\*$")]
"""A name, or with a `*` at one end all that begin or end so; `*` alone is not one of Istio's."""
HeaderText = Annotated[str, Field(max_length=16384, pattern=r"^[ -~]*$")]
Status = Annotated[
    str,
    Field(pattern=r"^(100|20[0-8]|226|30[0-578]|40[0-9]|41[0-7]|42[1-46]|42[89]|431|50[0-8]|51[01])$"),
]
"""Those that Envoy knows."""
DAY_S = 86400.0


def _list_of(item: Any) -> Any:
    return Annotated[tuple[item, ...], Field(strict=False, max_length=64)]


def _provider_name(text: str) -> str:
    """It becomes part of names that Envoy compares by their beginning."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text):
        raise PydanticCustomError("provider", "expected lower-case letters, digits and '-' such as 'my-authorizer'")
    return text


class OutboundTrafficPolicy(Part):
    """What happens to traffic for hosts that no service and no ServiceEntry names."""

    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"
    """`ALLOW_ANY` sends it on to the address that was dialled; `REGISTRY_ONLY` refuses it."""


class RequestBody(Part):
    """How much of a request's body an external authorizer is shown."""

    max_request_bytes: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """The most that is kept back and shown."""
    allow_partial_message: bool = False
    """True: of a larger body the first part is shown; false: it is answered with 413."""
    pack_as_bytes: bool = False
    """True: shown as bytes, not as UTF-8 text."""


class _ExtAuthz(Part):
    service: Annotated[str, Field(min_length=1, max_length=512)]
    """Host name of the authorizer, or `namespace/host`; a service of the chain or of a ServiceEntry."""
    port: Port
    """Port of that service."""
    timeout: Seconds = 600.0
    """How long its answer is waited for."""
    fail_open: bool = False
    """True: requests pass when the authorizer does not answer."""
    clear_route_cache: bool = False
    """True: the route is chosen again after it has changed headers."""
    status_on_error: Status = ""
    """HTTP status when it cannot be asked; left out: 403."""
    include_request_body_in_check: RequestBody | None = None
    """How much of the body it is shown; left out: nothing."""


class ExtAuthzGrpc(_ExtAuthz):
    """Envoy's `envoy.service.auth.v3.Authorization`."""


class ExtAuthzHttp(_ExtAuthz):
    """An HTTP service that says yes with 200."""

    path_prefix: Annotated[str, Field(max_length=1024, pattern=r"^(/[!-~]*)?$")] = ""
    """Put in front of the request's path when it is asked."""
    include_request_headers_in_check: _list_of(HeaderNames) = ()  # type: ignore[valid-type]
    """Headers of the request that it is shown, as `name`, `prefix*` or `*suffix`."""
    include_additional_headers_in_check: dict[HeaderName, HeaderText] = Field(default_factory=dict)
    """Headers that it is sent beside them."""
    headers_to_upstream_on_allow: _list_of(HeaderNames) = ()  # type: ignore[valid-type]
    """Headers of its answer that the request goes on with."""
    headers_to_downstream_on_deny: _list_of(HeaderNames) = ()  # type: ignore[valid-type]
    """Headers of its answer that the client gets when it says no."""
    headers_to_downstream_on_allow: _list_of(HeaderNames) = ()  # type: ignore[valid-type]
    """Headers of its answer that the client gets when it says yes."""


class ExtensionProvider(Part):
    """What a policy may name: an external authorizer."""

    name: Annotated[str, Field(max_length=63), AfterValidator(_provider_name)]
    """What policies call it."""
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None
    """An authorizer that is asked by gRPC."""
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    """An authorizer that is asked by HTTP."""

    @model_validator(mode="after")
    def _is_one(self) -> ExtensionProvider:
        if (self.envoy_ext_authz_grpc is None) == (self.envoy_ext_authz_http is None):
            raise PydanticCustomError("provider", "expected one of 'envoyExtAuthzGrpc' and 'envoyExtAuthzHttp'")
        return self


class MeshConfig(Part):
    """Istio's MeshConfig, as far as Clover carries it out."""

    trust_domain: TrustDomain = "cluster.local"
    """The first part of every identity: `spiffe://<trust domain>/ns/<namespace>/sa/<function>`."""
    trust_domain_aliases: _list_of(TrustDomain) = ()  # type: ignore[valid-type]
    """Other trust domains whose identities count as this one's in policies."""
    root_namespace: str = "istio-system"
    """Policies of this namespace are for the whole mesh."""
    enable_auto_mtls: bool = True
    """Sidecars use mutual TLS towards workloads that take it, without being told."""
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy.model_construct()
    """What happens to traffic for hosts that nobody has named."""
    protocol_detection_timeout: Seconds = 0.0
    """How long a client may stay silent before its bytes count as TCP; 0: for ever."""
    extension_providers: _list_of(ExtensionProvider) = ()  # type: ignore[valid-type]
    """External authorizers, for policies with the action CUSTOM."""

    @model_validator(mode="after")
    def _names_providers_once(self) -> MeshConfig:
        names = [provider.name for provider in self.extension_providers]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise PydanticCustomError("provider", "the extension provider {name} is there twice", {"name": repr(twice)})
        return self


class MeshSettings(Part):
    """What a chain says about its mesh."""

    mtls: Literal["STRICT", "PERMISSIVE", "DISABLE"] = "STRICT"
    """The PeerAuthentication of the chain's namespace."""
    authorization: Literal["chain", "none"] = "chain"
    """`chain`: a function may be called only by those that the chain has before it, ambassadors only by the control
    agent, and by an IDS to report its alerts. `none`: everybody may call everybody, until a policy says otherwise."""
    certificate_lifetime: Annotated[Seconds, Field(ge=2.0, le=90 * DAY_S)] = DAY_S
    """Of the workloads' certificates, which are replaced before half of it is over."""
    http10: bool = False
    """HTTP/1.0 is HTTP, at the gateway and between functions (Istio: PILOT_HTTP10). Otherwise the gateway, and ports
    declared to be HTTP, answer it with 426, and ports without a declared protocol carry it as TCP."""
    config: MeshConfig = MeshConfig.model_construct()
    """Istio's MeshConfig."""

    @model_validator(mode="after")
    def _has_identities_to_authorize(self) -> MeshSettings:
        if self.mtls == "DISABLE" and self.authorization == "chain":
            raise PydanticCustomError(
                "no_identities", "has no identities without mTLS to tell callers apart by; add 'authorization: none'"
            )
        return self


# Made without being checked: a third of the time of loading a chain would go into validators that most never need.
DEFAULT_CONFIG = MeshConfig.model_construct()
DEFAULTS = MeshSettings.model_construct()

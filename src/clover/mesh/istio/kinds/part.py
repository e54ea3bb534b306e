"""What the models of all kinds share: a frozen piece of a document, metadata, and the types of common fields."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StrictInt, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("base64", "the value is not base64") from None
    return text


Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Count = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Share = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Percentage = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False)]
WholePercentage = Annotated[StrictInt, Field(ge=0, le=100)]
NonEmpty = Annotated[str, Field(min_length=1)]
Base64 = Annotated[str, AfterValidator(_base64)]
ExportTo = tuple[Literal[".", "*"], ...]


class Part(BaseModel):
    """A piece of a resource: immutable, with Istio's names in documents and Python's in code."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        defer_build=True,  # the validators of all kinds cost more than those of the few that a chain uses
    )
    unsupported: ClassVar[frozenset[str]] = frozenset()
    """Fields that Istio has here and Clover does not carry out."""
    multiline: ClassVar[frozenset[str]] = frozenset()
    """Fields whose text may span lines."""


def one_of(part: Part, *names: str, least: int) -> None:
    """Refuse a part in which several of the fields `names`, or fewer than `least`, are set."""
    fields = type(part).model_fields
    aliases = [fields[name].alias or name for name in names]
    present = [alias for name, alias in zip(names, aliases, strict=True) if getattr(part, name) not in (None, False)]
    if least <= len(present) <= 1:
        return
    choices = ", ".join(repr(alias) for alias in aliases)
    found = f"{' and '.join(repr(alias) for alias in present)} are set" if present else "nothing is set"
    raise PydanticCustomError("one_of", "{found}, expected one of {choices}", {"found": found, "choices": choices})


_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"


def _qualified_name(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    right_prefix = not slash or (len(prefix) <= 253 and re.fullmatch(_SUBDOMAIN, prefix.lower()))
    if not right_prefix or not re.fullmatch(_WORD, name):
        raise PydanticCustomError("qualified_name", "{text} is no name such as 'app' or 'example.com/app'", _cut(text))
    return text


def _label_value(text: str) -> str:
    if text and not re.fullmatch(_WORD, text):
        raise PydanticCustomError("label_value", "{text} is not a label: letters, digits, '-', '_' and '.'", _cut(text))
    return text


def _cut(text: str) -> dict[str, str]:
    return {"text": repr(text[:63])}


QualifiedName = Annotated[str, AfterValidator(_qualified_name)]
LabelValue = Annotated[str, AfterValidator(_label_value)]


class Metadata(Part):
    """What a resource is called."""

    name: str = Field(max_length=253, pattern=_SUBDOMAIN)
    namespace: str = Field(default="default", max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    labels: dict[QualifiedName, LabelValue] = Field(default_factory=dict)
    annotations: dict[QualifiedName, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _without_what_the_api_server_writes(cls, data: Any) -> Any:
        """Files saved with `kubectl get -o yaml` carry book-keeping that says nothing about traffic."""
        return _without(data, _SERVER_METADATA)


_SERVER_METADATA = frozenset(
    [
        "creationTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)


def _without(data: Any, names: frozenset[str]) -> Any:
    if isinstance(data, Mapping):
        return {key: value for key, value in data.items() if key not in names}
    return data


class Resource(Part):
    """A whole document; each kind adds `kind` and `spec`."""

    api_versions: ClassVar[tuple[str, ...]]
    """What `apiVersion` may say; all of them mean the same here, and the first is written."""
    qualified: ClassVar[bool] = False
    """True: another kind has the same name, and this one is called `kind.group` where that matters."""

    api_version: str = ""
    """'': the first of `api_versions`."""
    kind: str
    metadata: Metadata
    spec: Part

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, data: Any) -> Any:
        """A status is what the API server found, not what the author means."""
        return _without(data, frozenset({"status"}))

    @model_validator(mode="after")
    def _has_a_version(self) -> Self:
        if not self.api_version:
            object.__setattr__(self, "api_version", self.api_versions[0])
        return self


class NetworkingResource(Resource):
    """A document of Istio's about traffic."""

    api_versions = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")


class SecurityResource(Resource):
    """A document of Istio's about who may do what."""

    api_versions = ("security.istio.io/v1", "security.istio.io/v1beta1")


class TelemetryResource(Resource):
    """A document of Istio's about what is reported."""

    api_versions = ("telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1")


class GatewayApiResource(Resource):
    """A document of the Kubernetes Gateway API."""

    api_versions = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")


def _no_wildcard(text: str) -> str:
    if "*" in text:
        raise PydanticCustomError("wildcard", "there is a '*' in it; labels are compared letter by letter")
    return text


_LabelName = Annotated[str, Field(min_length=1), AfterValidator(_no_wildcard)]
_LabelValue = Annotated[str, Field(max_length=63), AfterValidator(_no_wildcard)]


class MatchLabels(Part):
    """Chooses workloads of the policy's namespace (of all, in the root namespace) that have all of these labels."""

    match_labels: dict[_LabelName, _LabelValue] = Field(default_factory=dict)


class TargetRef(Part):
    """A Gateway, Service or GatewayClass that a policy is for, in place of a selector."""

    group: str = Field(
        default="", max_length=253, pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
    )
    kind: str = Field(max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
    name: str = Field(min_length=1, max_length=253)
    namespace: Literal[""] = ""
    """As in Istio, a policy is only for what is in its own namespace."""


class Targeted(Part):
    """The spec of a policy that is for some workloads, and says for which."""

    selector: MatchLabels | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = Field(default=(), max_length=16)
    """None of the three: every workload of the policy's namespace."""

    @model_validator(mode="after")
    def _says_it_once(self) -> Self:
        given = [name for name in ("selector", "target_ref", "target_refs") if name in self.model_fields_set]
        if len(given) > 1:
            raise PydanticCustomError("one_of", "only one of 'selector', 'targetRef' and 'targetRefs' can be set")
        return self

    def targets(self) -> tuple[TargetRef, ...]:
        """Return what the policy is for by name; empty: it chooses by labels."""
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())

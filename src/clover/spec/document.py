"""The chain file as its author types it: the pydantic model that checks shape, and that JSON Schema comes from.

What a `config` may say depends on the function's type, and is `configuration.py`'s; what else needs more than one field
to judge (targets, cycles, engines of a type) is `rules.py`'s work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from clover.spec.chain import DATA_PORT, FunctionType
from clover.spec.engines import ENGINES

API_VERSION = "clover/v1alpha1"
KIND = "Chain"
NAME_PATTERN = "[a-z]([-a-z0-9]*[a-z0-9])?"
"""A DNS-1035 label: what Kubernetes wants of the name of a service."""
LABEL_PATTERN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""A DNS-1123 label: what Kubernetes wants of a namespace."""
MAX_NAME_LENGTH = 40
"""Shorter than DNS's 63, so that `<function>-<version>` still fits beside the suffixes that clusters add."""


def _label(pattern: str) -> dict[str, Any]:
    return {"pattern": f"^{pattern}$", "maxLength": MAX_NAME_LENGTH}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _ipv4(value: str) -> str:
    import ipaddress  # most chains keep the default address

    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise PydanticCustomError("ipv4", "not an IPv4 address") from None
    return value


Port = Annotated[int, Field(ge=1, le=65535)]
Targets = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
"""One function, or a list of them."""
TypeName = Literal["firewall", "load-balancer", "cache", "ids", "server"]
assert set(TypeName.__args__) == set(FunctionType)  # type: ignore[attr-defined]  # noqa: S101
EngineName = Annotated[
    str, Field(json_schema_extra={"enum": sorted({name for names in ENGINES.values() for name in names})})
]
"""Any text here: which engines exist depends on the function's type, which is a rule."""


class _Part(BaseModel):
    """Unknown fields are refused, names are camelCase, and no value is bent into another type."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        defer_build=True,  # the validators of six models cost more than the check of a file; most runs need one
    )


class MetadataPart(_Part):
    """Who the chain is."""

    name: Annotated[str, Field(json_schema_extra=_label(NAME_PATTERN))]
    """Name of the chain: what the other commands call it by."""
    namespace: Annotated[str, Field(json_schema_extra=_label(LABEL_PATTERN))] = "default"
    """Namespace of its services: `http-lb.<namespace>.svc.cluster.local`."""
    labels: dict[str, str] = Field(default_factory=dict)
    """For other tools; Clover gives them no meaning."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """For other tools; Clover gives them no meaning."""


class GatewayPart(_Part):
    """Where requests enter the chain."""

    to: str
    """The function that gets every request."""
    port: Port = 8080
    """TCP port on the host."""
    address: Annotated[str, AfterValidator(_ipv4), Field(json_schema_extra={"format": "ipv4"})] = "127.0.0.1"
    """IPv4 address of the host to listen on; `0.0.0.0` is all of them."""


class VersionPart(_Part):
    """One version of a function: one workload, chosen among its siblings by route rules."""

    engine: EngineName | None = None
    """The program that does the work; the default depends on the function's type."""
    to: Targets = Field(default_factory=list)
    """Where it sends requests: one function, or a list that it balances over."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """A server of your own: the program and its arguments, run in the folder of the chain file."""
    config: dict[str, Any] | None = None
    """What it is told to do; which fields there are depends on the function's type."""


class FunctionPart(VersionPart):
    """One network function of the chain, in one or more versions behind one service name."""

    type: TypeName
    """What it does for the chain."""
    version: Annotated[str, Field(json_schema_extra=_label(LABEL_PATTERN))] = "v1"
    """Name of its only version; use `versions` for several."""
    versions: (
        Annotated[
            dict[str, VersionPart],
            Field(min_length=1, json_schema_extra={"propertyNames": _label(LABEL_PATTERN)}),
        ]
        | None
    ) = None
    """Several versions by name, in place of `engine`, `to`, `command`, `config` and `version`."""
    port: Port = DATA_PORT
    """TCP port that it is dialled on and listens on; 50054 and 15000 to 15090 are taken."""
    mirror_to: str | None = None
    """A function that gets a copy of each request; its answers are discarded."""

    @model_validator(mode="after")
    def _has_one_form(self) -> FunctionPart:
        if self.versions is not None:
            for field in ("engine", "to", "command", "config", "version"):
                if field in self.model_fields_set:
                    raise PydanticCustomError("both_forms", "both forms", {"field": field})
        return self


class SpecPart(_Part):
    """The chain itself."""

    gateway: GatewayPart
    """Where requests enter the chain."""
    functions: Annotated[dict[str, FunctionPart], Field(json_schema_extra={"propertyNames": _label(NAME_PATTERN)})]
    """The network functions, by the names that they dial each other by."""
    mesh: dict[str, Any] | None = None
    """How they trust each other, and what holds for the mesh as a whole."""


class ChainDocument(_Part):
    """An HTTP network function chain."""

    api_version: Literal["clover/v1alpha1"]
    """Version of this format."""
    kind: Literal["Chain"]
    """What the document is."""
    metadata: MetadataPart
    """Who the chain is."""
    spec: SpecPart
    """The chain itself."""


def field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the fields of a part as its author writes them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())

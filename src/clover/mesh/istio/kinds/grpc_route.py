"""The Gateway API's GRPCRoute."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.gateway_api import (
    BackendRef,
    CommonFilter,
    Hostname,
    ParentReference,
    SectionName,
    ValueMatch,
)
from clover.mesh.istio.kinds.part import GatewayApiResource, Part

_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class GRPCMethodMatch(Part):
    """A test of what is called; an empty part is not tested."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: str = Field(default="", max_length=1024)
    method: str = Field(default="", max_length=1024)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not (self.service or self.method):
            raise PydanticCustomError("empty", "nothing is tested, expected 'service' or 'method'")
        for name, value, form in (("service", self.service, _SERVICE), ("method", self.method, _METHOD)):
            if self.type == "Exact" and value and not form.fullmatch(value):
                raise PydanticCustomError(
                    "grpc_name",
                    "{value} is not the name of a gRPC {what}",
                    {"value": repr(value[:80]), "what": name},
                )
        return self


class GRPCRouteMatch(Part):
    """Which calls a rule takes: all of its tests hold."""

    method: GRPCMethodMatch | None = None
    headers: tuple[ValueMatch, ...] = Field(default=(), max_length=16)


class GRPCRouteFilter(CommonFilter):
    """One step of a rule: changes or copies calls."""

    unsupported = frozenset({"extensionRef"})

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"]


class GRPCRouteRule(Part):
    """The calls that a rule takes, and what happens to them."""

    unsupported = frozenset({"sessionPersistence"})

    name: SectionName | None = None
    matches: tuple[GRPCRouteMatch, ...] = Field(default=(), max_length=64)
    """Empty: every call."""
    filters: tuple[GRPCRouteFilter, ...] = Field(default=(), max_length=16)
    backend_refs: tuple[BackendRef, ...] = Field(default=(), max_length=16)


class GRPCRouteSpec(Part):
    """How gRPC calls are routed."""

    unsupported = frozenset({"useDefaultGateways"})

    parent_refs: tuple[ParentReference, ...] = Field(default=(), max_length=32)
    hostnames: tuple[Hostname, ...] = Field(default=(), max_length=16)
    rules: tuple[GRPCRouteRule, ...] = Field(default=(), max_length=16)


class GRPCRoute(GatewayApiResource):
    """The Gateway API's GRPCRoute."""

    api_versions = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2")

    kind: Literal["GRPCRoute"] = "GRPCRoute"
    spec: GRPCRouteSpec = GRPCRouteSpec.model_construct()

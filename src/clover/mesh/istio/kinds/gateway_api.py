"""What the Gateway API's kinds share: references to parents and backends, names, and changes of headers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.durations import DurationOrZero
from clover.mesh.istio.kinds.part import NonEmpty, Part, Port, WholePercentage

GROUP = "gateway.networking.k8s.io"
_LABELS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_HOST = re.compile(rf"(\*\.)?{_LABELS}")
_TIME = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


def _hostname(text: str) -> str:
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise PydanticCustomError(
            "hostname",
            "{found} is not a host name in lower case, such as 'shop.example.com' or '*.example.com'",
            {"found": repr(text[:60])},
        )
    return text


def _precise_hostname(text: str) -> str:
    if text.startswith("*"):
        raise PydanticCustomError("hostname", "{found} is a wildcard, expected one host", {"found": repr(text[:60])})
    return _hostname(text)


Hostname = Annotated[str, AfterValidator(_hostname)]
"""A host, or with a leading `*.` all hosts below a domain."""
PreciseHostname = Annotated[str, AfterValidator(_precise_hostname)]
SectionName = Annotated[str, Field(max_length=253, pattern=rf"^{_LABELS}$")]
Namespace = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
HeaderName = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$")]
HeaderValue = Annotated[str, Field(min_length=1, max_length=4096)]
Weight = Annotated[StrictInt, Field(ge=0, le=1_000_000)]


def _is_plain_duration(value: Any) -> None:
    if isinstance(value, str) and not _TIME.fullmatch(value):
        raise PydanticCustomError(
            "duration", "{found} is not a duration such as '500ms', '10s' or '1h30m'", {"found": repr(value[:40])}
        )


class Timeouts(Part):
    """How long things may take; `0s` is no limit."""

    request: DurationOrZero | None = None
    """From the request to the whole answer."""
    backend_request: DurationOrZero | None = None
    """One attempt at a backend."""

    @model_validator(mode="before")
    @classmethod
    def _are_durations_of_the_gateway_api(cls, data: Any) -> Any:
        for value in data.values() if isinstance(data, dict) else ():
            _is_plain_duration(value)
        return data

    @model_validator(mode="after")
    def _attempts_are_the_shorter(self) -> Self:
        if self.request and self.backend_request is not None and self.backend_request > self.request:
            raise PydanticCustomError("timeouts", "'backendRequest' is longer than 'request', which it is a part of")
        return self


class ParentReference(Part):
    """What a route is attached to: a Gateway, or a Service (then it is for the sidecars that call it)."""

    group: str = GROUP
    """`gateway.networking.k8s.io` for a Gateway, empty for a Service."""
    kind: NonEmpty = "Gateway"
    name: NonEmpty
    namespace: Namespace | None = None
    """None: the route's own."""
    section_name: SectionName | None = None
    """Name of a listener, or of a Service's port; None: all of them."""
    port: Port | None = None


class Reference(Part):
    """Something that a resource refers to."""

    group: str = ""
    kind: NonEmpty
    name: NonEmpty
    namespace: Namespace | None = None
    """None: the resource's own; any other asks for a ReferenceGrant there."""


class ObjectReference(Reference):
    """A Service that requests go to."""

    kind: NonEmpty = "Service"
    port: Port | None = None

    @model_validator(mode="after")
    def _a_service_has_a_port(self) -> Self:
        if self.port is None and (self.group, self.kind) == ("", "Service"):
            raise PydanticCustomError("port", "a Service is referred to without 'port'")
        return self


class Header(Part):
    """A header and its value."""

    name: HeaderName
    value: HeaderValue


class HeaderModifier(Part):
    """Changes to the headers of one message."""

    set: tuple[Header, ...] = Field(default=(), max_length=16)
    add: tuple[Header, ...] = Field(default=(), max_length=16)
    remove: tuple[HeaderName, ...] = Field(default=(), max_length=16)


class Fraction(Part):
    """A share."""

    numerator: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
    denominator: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] = 100

    @model_validator(mode="after")
    def _is_at_most_one(self) -> Self:
        if self.numerator > self.denominator:
            raise PydanticCustomError("fraction", "'numerator' is more than 'denominator'")
        return self


class RequestMirror(Part):
    """Sends copies of requests to a further backend, whose answers are thrown away."""

    backend_ref: ObjectReference
    percent: WholePercentage | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _has_one_share(self) -> Self:
        if self.percent is not None and self.fraction is not None:
            raise PydanticCustomError("one_of", "both 'percent' and 'fraction' are set, expected one")
        return self

    def share(self) -> float:
        """Return the share of the requests that are copied, in percent; without any word, all."""
        if self.fraction is not None:
            return 100.0 * self.fraction.numerator / self.fraction.denominator
        return 100.0 if self.percent is None else float(self.percent)


class ValueMatch(Part):
    """A test of a header or of a query parameter."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: HeaderValue


class Filter(Part):
    """One step of a rule; `type` says which, and a field of the same name in lower case says how."""

    type: str

    @model_validator(mode="after")
    def _says_what_its_type_is(self) -> Self:
        wanted = {"URLRewrite": "urlRewrite", "CORS": "cors"}.get(self.type, self.type[:1].lower() + self.type[1:])
        for name, field in type(self).model_fields.items():
            alias, given = field.alias or name, getattr(self, name) is not None
            if alias == "type" or given == (alias == wanted):
                continue
            what = "the filter is of type {type} and has {alias} too" if given else "the filter has no {alias}"
            raise PydanticCustomError("filter", what, {"type": repr(self.type), "alias": repr(alias)})
        return self


class CommonFilter(Filter):
    """What rules for HTTP and for gRPC may both do."""

    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None


class BackendFilter(Filter):
    """What may be done to the share of one backend."""

    unsupported = frozenset({"extensionRef", "requestMirror", "requestRedirect", "urlRewrite", "cors"})

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None


class BackendRef(ObjectReference):
    """A backend's share of a rule's requests."""

    weight: Weight = 1
    """Relative to the other backends of the rule; 0: none."""
    filters: tuple[BackendFilter, ...] = Field(default=(), max_length=16)

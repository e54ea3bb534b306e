"""Istio's Telemetry."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.durations import Duration
from clover.mesh.istio.kinds.part import NonEmpty, Part, Percentage, Targeted, TelemetryResource, one_of


class ProviderRef(Part):
    """Where reports go on a cluster; Clover has one place for all of them."""

    name: NonEmpty


class ModeSelector(Part):
    """Which side of a request an entry is for."""

    mode: Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"] = "CLIENT_AND_SERVER"
    """CLIENT: what a workload sends, and all that a gateway does; SERVER: what a sidecar takes for its function."""


class LiteralTag(Part):
    """A tag that says the same everywhere."""

    value: NonEmpty


class EnvironmentTag(Part):
    """A tag that says what a variable of the proxy's environment says."""

    name: NonEmpty
    default_value: str = ""


class HeaderTag(Part):
    """A tag that says what a header of the request says."""

    name: NonEmpty
    default_value: str = ""


class FormatterTag(Part):
    """A tag in the format of access logs: `%REQ(x-user)%`."""

    value: NonEmpty


class CustomTag(Part):
    """A further attribute of spans."""

    literal: LiteralTag | None = None
    environment: EnvironmentTag | None = None
    header: HeaderTag | None = None
    formatter: FormatterTag | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "literal", "environment", "header", "formatter", least=1)
        return self


class Tracing(Part):
    """Which requests have spans, and what the spans say; what is not set is as the wider policy says."""

    unsupported = frozenset({"disableContextPropagation", "enableIstioTags"})

    match: ModeSelector = ModeSelector.model_construct()
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: Percentage | None = None
    disable_span_reporting: StrictBool | None = None
    custom_tags: dict[NonEmpty, CustomTag] | None = Field(default=None)
    use_request_id_for_trace_sampling: StrictBool | None = None


class LogFilter(Part):
    """Which requests are logged."""

    multiline = frozenset({"expression"})

    expression: str
    """A condition in CEL."""


class AccessLogging(Part):
    """Whether requests are logged; the last entry that is for a proxy and a side of its requests decides."""

    match: ModeSelector = ModeSelector.model_construct()
    providers: tuple[ProviderRef, ...] = ()
    disabled: StrictBool = False
    filter: LogFilter | None = None


class MetricSelector(Part):
    """Which metrics an entry is for."""

    metric: (
        Literal[
            "ALL_METRICS",
            "REQUEST_COUNT",
            "REQUEST_DURATION",
            "REQUEST_SIZE",
            "RESPONSE_SIZE",
            "TCP_OPENED_CONNECTIONS",
            "TCP_CLOSED_CONNECTIONS",
            "TCP_SENT_BYTES",
            "TCP_RECEIVED_BYTES",
            "GRPC_REQUEST_MESSAGES",
            "GRPC_RESPONSE_MESSAGES",
        ]
        | None
    ) = None
    custom_metric: NonEmpty | None = None
    mode: Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"] = "CLIENT_AND_SERVER"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "metric", "custom_metric", least=0)
        return self


class TagOverride(Part):
    """What becomes of one dimension of metrics."""

    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.operation == "REMOVE") != (self.value is None) or self.value == "":
            raise PydanticCustomError("tag", "an 'UPSERT' has a 'value', a 'REMOVE' has none")
        return self


class MetricsOverrides(Part):
    """How some metrics differ from what they are by default."""

    match: MetricSelector = MetricSelector.model_construct()
    disabled: StrictBool | None = None
    tag_overrides: dict[str, TagOverride] = Field(default_factory=dict)


class Metrics(Part):
    """What is counted; read, so that mistakes are found, and not carried out."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: Duration | None = None


class TelemetrySpec(Targeted):
    """What proxies report."""

    tracing: tuple[Tracing, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
    metrics: tuple[Metrics, ...] = ()

    @property
    def is_for_a_namespace(self) -> bool:
        """Whether it is for a whole namespace, or for the mesh, and not for some workloads."""
        return not self.targets() and not (self.selector and self.selector.match_labels)


class Telemetry(TelemetryResource):
    """Istio's Telemetry."""

    kind: Literal["Telemetry"] = "Telemetry"
    spec: TelemetrySpec = TelemetrySpec.model_construct()

"""What every listener reports: spans and access logs, over OTLP, to the same place and about the same identity."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2, extension_pb2, grpc_service_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import static_config_resource_detector_pb2
from envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    always_on_sampler_pb2,
    trace_id_ratio_based_sampler_pb2,
)
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2
from opentelemetry.proto.common.v1 import common_pb2

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.reporting import Reporting, Tag, TagKind
from clover.mesh.xds.resource import packed
from clover.mesh.xds.settings import Settings

HTTP_FIELDS = {
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "route": "%ROUTE_NAME%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "grpc_status": "%GRPC_STATUS%",
}
FIELDS = {
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "flags_in_words": "%RESPONSE_FLAGS_LONG%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_REMOTE_ADDRESS%",
    "upstream_local": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_remote": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_local": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "filter_chain": "%FILTER_CHAIN_NAME%",
    "connection_id": "%CONNECTION_ID%",
    "stream_id": "%STREAM_ID%",
    "terminal": "%CONNECTION_TERMINATION_DETAILS%",
}
HTTP_BODY = '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%" %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION% ms'
_TCP_BODY = "tcp to %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS% %DURATION% ms"


SPANS_KEPT = "spans_kept"
"""Attribute of records of proxies that do not keep the spans of every trace: `10 %`, or `none`."""
LOGS_KEPT = "logs_kept"
"""Tag of spans of proxies that do not keep the record of every request: `some`, or `none`."""
_ALL = 100.0
_TLS_FAILED = "connection.transport_failure_reason != ''"
_NO_CHAIN = "xds.filter_chain_name == ''"
NOT_RECOGNISED = "closed_before_protocol_was_known"
"""What a listener's record says in `details` of a connection that ended before a filter chain could be chosen."""
_LISTENER_DETAILS = (
    f"%CEL(has(response.code_details) ? response.code_details : {_NO_CHAIN} ? '{NOT_RECOGNISED}' : '-')%"
)
_CONNECTION_FLAGS = ("NR", "DPE", "OM", "NFCF")
_A_WHILE_MS = 1000


def resource_attributes(identity: ir.Identity) -> dict[str, str]:
    """Return whom spans and logs are about, in OpenTelemetry's words."""
    return {
        "service.name": identity.function,
        "service.version": identity.version,
        "service.namespace": identity.chain,
        "service.instance.id": identity.workload,
        "clover.workload": identity.workload,
    }


def _left_out(wanted: Reporting) -> dict[str, str]:
    """Return what a record must say so that spans which a policy leaves out are not taken for lost ones."""
    if not wanted.spans:
        return {SPANS_KEPT: "none"}
    return {SPANS_KEPT: f"{wanted.sampled_percent:g} %%"} if wanted.sampled_percent < _ALL else {}


def _receiver(settings: Settings) -> grpc_service_pb2.GrpcService:
    service = grpc_service_pb2.GrpcService()
    service.envoy_grpc.cluster_name = settings.otlp_cluster
    return service


def _attributes(values: Mapping[str, str]) -> common_pb2.KeyValueList:
    return common_pb2.KeyValueList(
        values=[
            common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value))
            for key, value in values.items()
            if value
        ]
    )


def _reporting(identity: ir.Identity, direction: str) -> Reporting:
    return identity.reports.taken if direction == "inbound" else identity.reports.sent


@remembered
def tracing(identity: ir.Identity, settings: Settings, *, direction: str) -> HttpConnectionManager.Tracing | None:
    """
    Trace every request, or the share that a policy names: one server span, and one client span per attempt.

    The sampler decides alone: without it the flag of the client's `traceparent` would switch tracing off. It decides by
    the trace id, so that all proxies keep the same traces. Names are made of method and route, never of paths, so that
    they can be grouped.
    """
    wanted = _reporting(identity, direction)
    if not settings.otlp_cluster or not wanted.spans:
        return None
    attributes = resource_attributes(identity)
    config = opentelemetry_pb2.OpenTelemetryConfig(
        grpc_service=_receiver(settings),
        service_name=attributes.pop("service.name"),
        resource_detectors=[
            extension_pb2.TypedExtensionConfig(
                name="envoy.tracers.opentelemetry.resource_detectors.static_config",
                typed_config=packed(
                    static_config_resource_detector_pb2.StaticConfigResourceDetectorConfig(
                        attributes={key: value for key, value in attributes.items() if value}
                    )
                ),
            )
        ],
        sampler=_sampler(wanted.sampled_percent),
    )
    result = HttpConnectionManager.Tracing(
        provider=http_tracer_pb2.Tracing.Http(name="envoy.tracers.opentelemetry", typed_config=packed(config)),
        operation="%REQ(:METHOD)% %ROUTE_NAME%",
        upstream_operation="%REQ(:METHOD)% %UPSTREAM_CLUSTER%",
    )
    result.spawn_upstream_span.value = True
    result.custom_tags.extend(map(_tag, wanted.tags))
    if not wanted.logs or wanted.log_condition:
        result.custom_tags.append(
            _tag(Tag(name=LOGS_KEPT, kind=TagKind.LITERAL, value="some" if wanted.logs else "none"))
        )
    return result


def _sampler(percent: float) -> extension_pb2.TypedExtensionConfig:
    if percent >= _ALL:
        return extension_pb2.TypedExtensionConfig(
            name="envoy.tracers.opentelemetry.samplers.always_on",
            typed_config=packed(always_on_sampler_pb2.AlwaysOnSamplerConfig()),
        )
    share = percent_pb2.FractionalPercent(
        numerator=round(percent * 10_000), denominator=percent_pb2.FractionalPercent.MILLION
    )
    return extension_pb2.TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
        typed_config=packed(trace_id_ratio_based_sampler_pb2.TraceIdRatioBasedSamplerConfig(sampling_percentage=share)),
    )


def _tag(tag: Tag) -> custom_tag_pb2.CustomTag:
    result = custom_tag_pb2.CustomTag(tag=tag.name)
    match tag.kind:
        case TagKind.LITERAL:
            result.literal.value = tag.value
        case TagKind.ENVIRONMENT:
            result.environment.name, result.environment.default_value = tag.value, tag.default
        case TagKind.HEADER:
            result.request_header.name, result.request_header.default_value = tag.value, tag.default
        case TagKind.FORMAT:
            result.value = tag.value
    return result


@remembered
def access_log(
    identity: ir.Identity,
    settings: Settings,
    *,
    direction: str,
    http: bool,
    errors_only: bool = False,
    noted: tuple[tuple[str, str], ...] = (),
) -> tuple[accesslog_pb2.AccessLog, ...]:
    """
    Log every request (`http`) or connection.

    All loggers of a proxy share one stream to the receiver, because all they share is equal: Envoy keeps one
    exporter per receiver and resource. `errors_only` is for listeners: connections of which nobody else can tell.
    `noted` are fields of what policies noted.
    """
    wanted = _reporting(identity, direction)
    if not settings.otlp_cluster or not (wanted.logs or errors_only):
        return ()
    fields = {
        "log": "envoy",
        "direction": direction,
        **(HTTP_FIELDS if http else {}),
        **FIELDS,
        **_left_out(wanted),
        **dict(noted),
    }
    if errors_only:
        fields["details"] = _LISTENER_DETAILS
    common = als_pb2.CommonGrpcAccessLogConfig(
        log_name="clover",
        grpc_service=_receiver(settings),
        transport_api_version=config_source_pb2.ApiVersion.V3,
    )
    common.buffer_size_bytes.value = settings.log_buffer_bytes
    common.buffer_flush_interval.FromMilliseconds(round(settings.log_flush_s * 1000))
    config = logs_service_pb2.OpenTelemetryAccessLogConfig(
        common_config=common,
        disable_builtin_labels=True,
        resource_attributes=_attributes(resource_attributes(identity)),
        attributes=_attributes(fields),
        body=common_pb2.AnyValue(string_value=HTTP_BODY if http else _TCP_BODY),
    )
    log = accesslog_pb2.AccessLog(name="envoy.access_loggers.open_telemetry", typed_config=packed(config))
    if errors_only:
        log.filter.CopyFrom(_untold(direction))
    elif wanted.log_condition:
        log.filter.CopyFrom(_if(wanted.log_condition))
    return (log,)


def _untold(direction: str) -> accesslog_pb2.AccessLogFilter:
    """
    Return a filter for the connections that no request and no carried connection tells of.

    No filter chain wanted them, or they broke the protocol or their TLS; or they were gone before their first bytes
    said what they are. Of the last, sidecars keep those that lasted: whoever checks that a port is open leaves at once.
    """
    result = accesslog_pb2.AccessLogFilter()
    either = result.or_filter.filters
    either.add().response_flag_filter.flags.extend(_CONNECTION_FLAGS)
    either.append(_if(_TLS_FAILED))
    if direction == "gateway":
        either.append(_if(_NO_CHAIN))
        return result
    both = either.add().and_filter.filters
    both.append(_if(_NO_CHAIN))
    lasted = both.add().duration_filter.comparison
    lasted.op = lasted.GE
    lasted.value.default_value = _A_WHILE_MS
    lasted.value.runtime_key = "clover.listener_log_ms"
    return result


def _if(condition: str) -> accesslog_pb2.AccessLogFilter:
    """Return a filter that keeps records for which a CEL expression holds."""
    result = accesslog_pb2.AccessLogFilter()
    result.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    result.extension_filter.typed_config.CopyFrom(packed(cel_pb2.ExpressionFilter(expression=condition)))
    return result

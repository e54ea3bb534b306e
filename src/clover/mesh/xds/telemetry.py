"""What every listener reports: spans and access logs, over OTLP, to the same place and about the same identity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2, extension_pb2, grpc_service_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import static_config_resource_detector_pb2
from envoy.extensions.tracers.opentelemetry.samplers.v3 import always_on_sampler_pb2
from opentelemetry.proto.common.v1 import common_pb2

from clover.mesh import ir
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


def resource_attributes(identity: ir.Identity) -> dict[str, str]:
    """Return whom spans and logs are about, in OpenTelemetry's words."""
    return {
        "service.name": identity.function,
        "service.version": identity.version,
        "service.namespace": identity.chain,
        "service.instance.id": identity.workload,
        "clover.workload": identity.workload,
    }


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


@lru_cache(maxsize=1024)
def tracing(identity: ir.Identity, settings: Settings) -> HttpConnectionManager.Tracing | None:
    """
    Trace every request: one server span, and one client span per attempt.

    The sampler decides alone: without it the flag of the client's `traceparent` would switch tracing off. Names are
    made of method and route, never of paths, so that they can be grouped.
    """
    if not settings.otlp_cluster:
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
        sampler=extension_pb2.TypedExtensionConfig(
            name="envoy.tracers.opentelemetry.samplers.always_on",
            typed_config=packed(always_on_sampler_pb2.AlwaysOnSamplerConfig()),
        ),
    )
    result = HttpConnectionManager.Tracing(
        provider=http_tracer_pb2.Tracing.Http(name="envoy.tracers.opentelemetry", typed_config=packed(config)),
        operation="%REQ(:METHOD)% %ROUTE_NAME%",
        upstream_operation="%REQ(:METHOD)% %UPSTREAM_CLUSTER%",
    )
    result.spawn_upstream_span.value = True
    return result


@lru_cache(maxsize=1024)
def access_log(
    identity: ir.Identity, settings: Settings, *, direction: str, http: bool, errors_only: bool = False
) -> tuple[accesslog_pb2.AccessLog, ...]:
    """
    Log every request (`http`) or connection.

    All loggers of a proxy share one stream to the receiver, because all they share is equal: Envoy keeps one
    exporter per receiver and resource. `errors_only` is for listeners: what no filter chain wanted.
    """
    if not settings.otlp_cluster:
        return ()
    fields = {"log": "envoy", "direction": direction, **(HTTP_FIELDS if http else {}), **FIELDS}
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
        log.filter.response_flag_filter.flags.append("NR")
    return (log,)

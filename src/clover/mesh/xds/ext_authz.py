"""External authorization: how Envoy asks an authorizer about a request or connection that a CUSTOM policy matched."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as http_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as tcp_pb2
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from clover.mesh.access import Authorizer, HttpCheck, Text
from clover.mesh.xds.messages import duration
from clover.mesh.xds.rbac import string

PREFIX = "istio-ext-authz"
"""How the names of CUSTOM policies' rules begin."""
NOTES = "istio_ext_authz_"
"""How the names of the notes begin that say which of them matched."""
MATCHED = f"{NOTES}shadow_effective_policy_id"


def http(authorizer: Authorizer, *, notes_of: str) -> http_pb2.ExtAuthz:
    """Return the filter that asks about requests which the filter `notes_of` noted."""
    result = http_pb2.ExtAuthz(
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=authorizer.fail_open,
        clear_route_cache=authorizer.clear_route_cache,
        filter_enabled_metadata=_noted(authorizer, notes_of),
    )
    if authorizer.status_on_error is not None:
        result.status_on_error.code = authorizer.status_on_error
    if body := authorizer.body:
        result.with_request_body.max_request_bytes = body.max_bytes
        result.with_request_body.allow_partial_message = body.partial
        result.with_request_body.pack_as_bytes = body.as_bytes
    if authorizer.http is None:
        result.grpc_service.CopyFrom(_grpc(authorizer))
        return result
    result.http_service.CopyFrom(_http(authorizer, authorizer.http))
    if authorizer.http.request_headers:
        result.allowed_headers.CopyFrom(_any_of(authorizer.http.request_headers))
    return result


def tcp(authorizer: Authorizer, *, notes_of: str, stat_prefix: str) -> tcp_pb2.ExtAuthz:
    """Return the filter that asks about connections which the filter `notes_of` noted."""
    return tcp_pb2.ExtAuthz(
        stat_prefix=stat_prefix,
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=authorizer.fail_open,
        grpc_service=_grpc(authorizer),
        filter_enabled_metadata=_noted(authorizer, notes_of),
    )


def _grpc(authorizer: Authorizer) -> GrpcService:
    result = GrpcService(timeout=duration(authorizer.timeout_s))
    result.envoy_grpc.cluster_name = authorizer.cluster
    result.envoy_grpc.authority = authorizer.host
    return result


def _http(authorizer: Authorizer, check: HttpCheck) -> http_pb2.HttpService:
    # Envoy wants a URI, and uses the cluster.
    uri = HttpUri(uri=f"http://{authorizer.host}", cluster=authorizer.cluster, timeout=duration(authorizer.timeout_s))
    result = http_pb2.HttpService(server_uri=uri, path_prefix=check.path_prefix)
    for name, value in check.added_headers:
        result.authorization_request.headers_to_add.append(HeaderValue(key=name, value=value))
    response = result.authorization_response
    for headers, field in (
        (check.to_upstream, response.allowed_upstream_headers),
        (check.to_client_on_deny, response.allowed_client_headers),
        (check.to_client_on_allow, response.allowed_client_headers_on_success),
    ):
        if headers:
            field.CopyFrom(_any_of(headers))
    return result


def _any_of(headers: Iterable[Text]) -> ListStringMatcher:
    return ListStringMatcher(patterns=map(string, headers))


def _noted(authorizer: Authorizer, notes_of: str) -> MetadataMatcher:
    """Only what a policy with this authorizer matched is asked about."""
    return MetadataMatcher(
        filter=notes_of,
        path=[MetadataMatcher.PathSegment(key=MATCHED)],
        value=ValueMatcher(string_match=StringMatcher(prefix=f"{PREFIX}-{authorizer.name}")),
    )

"""The mesh's extension providers into services that are asked whether a request may pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from clover.mesh.access import Authorizer, Body, HttpCheck, Text, TextKind
from clover.mesh.istio.extension_providers import asked_by, service_of
from clover.mesh.istio.registry import Registry, Service
from clover.mesh.translate.clusters import cluster_name
from clover.spec.mesh_config import ExtAuthzGrpc, ExtAuthzHttp


def authorizers_of(registry: Registry, names: Collection[str]) -> tuple[Authorizer, ...]:
    """Return those of the providers `names` whose service is there."""
    found = []
    for provider in registry.config.extension_providers:
        asked = asked_by(provider)
        service = service_of(asked, registry)
        if provider.name in names and service is not None:
            found.append(_authorizer(provider.name, asked, service))
    return tuple(found)


def _authorizer(name: str, asked: ExtAuthzGrpc | ExtAuthzHttp, service: Service) -> Authorizer:
    body = asked.include_request_body_in_check
    return Authorizer(
        name=name,
        cluster=cluster_name(service, asked.port),
        host=service.host,
        http=_http(asked) if isinstance(asked, ExtAuthzHttp) else None,
        timeout_s=asked.timeout,
        fail_open=asked.fail_open,
        status_on_error=int(asked.status_on_error) if asked.status_on_error else None,
        clear_route_cache=asked.clear_route_cache,
        body=Body(max_bytes=body.max_request_bytes, partial=body.allow_partial_message, as_bytes=body.pack_as_bytes)
        if body
        else None,
    )


def _http(asked: ExtAuthzHttp) -> HttpCheck:
    return HttpCheck(
        path_prefix=asked.path_prefix,
        request_headers=_names(asked.include_request_headers_in_check),
        added_headers=tuple(sorted(asked.include_additional_headers_in_check.items())),
        to_upstream=_names(asked.headers_to_upstream_on_allow),
        to_client_on_deny=_names(asked.headers_to_downstream_on_deny),
        to_client_on_allow=_names(asked.headers_to_downstream_on_allow),
    )


def _names(values: Iterable[str]) -> tuple[Text, ...]:
    """Return names of headers; a `*` stands at one end of some."""
    return tuple(map(_name, values))


def _name(value: str) -> Text:
    if value.startswith("*"):
        return Text(kind=TextKind.SUFFIX, value=value[1:], ignore_case=True)
    if value.endswith("*"):
        return Text(kind=TextKind.PREFIX, value=value[:-1], ignore_case=True)
    return Text(kind=TextKind.EXACT, value=value, ignore_case=True)

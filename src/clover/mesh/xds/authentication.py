"""Request authentication: Envoy's JWT filter."""

from __future__ import annotations

from envoy.config.core.v3 import http_uri_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from clover.kit.memory import remembered
from clover.mesh.authentication import FILTER, PAYLOAD, Authentication, Issuer, Keys
from clover.mesh.xds.messages import duration
from clover.mesh.xds.resource import packed

_KEYS_KEPT_S = 300
_Requirement = config_pb2.JwtRequirement


@remembered
def http_filters(authentication: Authentication) -> tuple[HttpFilter, ...]:
    """Return the filter that reads tokens, before anything that decides by them."""
    if not authentication.issuers:
        return ()
    # Istio's names, by which its tools and dashboards know the issuers.
    named = {f"origins-{index}": issuer for index, issuer in enumerate(authentication.issuers)}
    config = config_pb2.JwtAuthentication(
        providers={
            name: _provider(issuer, clear_route_cache=authentication.decides_routes) for name, issuer in named.items()
        },
        rules=[
            config_pb2.RequirementRule(
                match=route_components_pb2.RouteMatch(prefix="/"),
                requires=_requirement({name: issuer.required for name, issuer in named.items()}),
            )
        ],
        # A browser asks for permission without a token, since it may not send one yet.
        bypass_cors_preflight=True,
    )
    return (HttpFilter(name=FILTER, typed_config=packed(config)),)


def clusters_of(authentication: Authentication) -> tuple[str, ...]:
    """Return the clusters from which keys are fetched."""
    return tuple(dict.fromkeys(issuer.keys.cluster for issuer in authentication.issuers if issuer.keys.cluster))


def _requirement(issuers: dict[str, bool]) -> config_pb2.JwtRequirement:
    """
    Return what a request must have: any one good token, or none at all and no bad one.

    Where an issuer's token is required, having none at all is not enough. Single issuers come first because a token
    that one of several at the same place has signed is a bad one to all others.
    """
    each = [
        _named(name) if required else _any([_named(name), _Requirement(allow_missing={})])
        for name, required in issuers.items()
    ]
    if len(each) == 1:
        return each[0]
    together = _Requirement(requires_all=config_pb2.JwtRequirementAndList(requirements=each))
    return _any([*map(_named, issuers), together])


def _named(name: str) -> config_pb2.JwtRequirement:
    return _Requirement(provider_name=name)


def _any(choices: list[config_pb2.JwtRequirement]) -> config_pb2.JwtRequirement:
    return _Requirement(requires_any=config_pb2.JwtRequirementOrList(requirements=choices))


def _provider(issuer: Issuer, *, clear_route_cache: bool) -> config_pb2.JwtProvider:
    provider = config_pb2.JwtProvider(
        issuer=issuer.name,
        audiences=issuer.audiences,
        forward=issuer.forward,
        forward_payload_header=issuer.payload_header,
        payload_in_metadata=PAYLOAD,
        from_headers=[config_pb2.JwtHeader(name=name, value_prefix=prefix) for name, prefix in issuer.headers],
        from_params=issuer.parameters,
        from_cookies=issuer.cookies,
        claim_to_headers=[
            config_pb2.JwtClaimToHeader(claim_name=claim, header_name=header) for claim, header in issuer.claim_headers
        ],
        clear_route_cache=clear_route_cache,
    )
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(issuer.lists)
    if issuer.keys.uri:
        provider.remote_jwks.CopyFrom(_remote(issuer.keys))
    else:
        provider.local_jwks.inline_string = issuer.keys.inline
    return provider


def _remote(keys: Keys) -> config_pb2.RemoteJwks:
    """
    Return how keys are fetched: when the first token comes, and again when they are five minutes old.

    While they cannot be had, every token is refused with 401 and the words `Jwks remote fetch is failed`.
    """
    return config_pb2.RemoteJwks(
        http_uri=http_uri_pb2.HttpUri(uri=keys.uri, cluster=keys.cluster, timeout=duration(keys.timeout_s)),
        cache_duration=duration(_KEYS_KEPT_S),
    )

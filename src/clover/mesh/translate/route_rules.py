"""What a rule of the Gateway API does with the requests that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from clover.mesh import ir
from clover.mesh.istio import attachments, resources
from clover.mesh.istio.attachments import Route, Rule
from clover.mesh.istio.kinds.gateway_api import BackendRef, Header, HeaderModifier, RequestMirror, Timeouts
from clover.mesh.istio.kinds.http_route import (
    Cors,
    HTTPRouteFilter,
    HTTPRouteRule,
    PathModifier,
    RequestRedirect,
    URLRewrite,
)
from clover.mesh.istio.resources import HTTPRoute
from clover.mesh.translate.clusters import cluster_name
from clover.mesh.translate.route_matches import Case
from clover.mesh.translate.routes import DEFAULT_RETRIES, Place, default_route

WELL_KNOWN = {"http": 80, "https": 443}
_WHOLE_PATH = "^/.*$"


def route_from(case: Case, route: Route, place: Place) -> ir.Route:
    """Return what happens to the requests of a case."""
    rule = case.rule
    timeouts = rule.timeouts if isinstance(rule, HTTPRouteRule) else Timeouts()
    action = _action(case, route, place)
    forwards = isinstance(action, ir.Forward)
    return ir.Route(
        name=case.name,
        match=case.match,
        action=action,
        timeout_s=timeouts.request or 0.0,
        retries=_retries(action, timeouts) if isinstance(action, ir.Forward) else None,
        cors=next((_cors(step.cors) for step in _steps(rule) if step.cors), None),
        mirrors=tuple(_mirrors(rule, route, place)) if forwards else (),
        request_headers=_changes(step.request_header_modifier for step in attachments.steps_of(rule)),
        response_headers=_changes(step.response_header_modifier for step in attachments.steps_of(rule)),
        sources=(resources.key(route),),
    )


def _steps(rule: Rule) -> tuple[HTTPRouteFilter, ...]:
    """Return the filters of a rule that only HTTP has."""
    return rule.filters if isinstance(rule, HTTPRouteRule) else ()


def _action(case: Case, route: Route, place: Place) -> ir.Forward | ir.Redirect | ir.DirectResponse:
    steps = _steps(case.rule)
    if redirect := next((step.request_redirect for step in steps if step.request_redirect), None):
        return _redirect(redirect, case.prefix, place)
    # A call that nobody takes is UNAVAILABLE, which is what gRPC makes of 503.
    status = 500 if isinstance(route, HTTPRoute) else 503
    wanted = [reference for reference in case.rule.backend_refs if reference.weight > 0]
    shares = tuple(_share(reference, route, place) for reference in wanted)
    lost = [share for share in shares if share.cluster == ir.NOWHERE]
    if len(lost) == len(shares):
        return ir.DirectResponse(code=status)
    rewrite = next((step.url_rewrite for step in steps if step.url_rewrite), None) or URLRewrite()
    prefix, regex = _path_change(rewrite.path, case.prefix)
    return ir.Forward(
        to=shares,
        rewrite_prefix=prefix,
        rewrite_regex=regex,
        rewrite_authority=rewrite.hostname,
        hash_policies=_hash_policies(wanted, route, place),
        nowhere_status=status if lost else 503,
    )


def _share(reference: BackendRef, route: Route, place: Place) -> ir.WeightedCluster:
    service = attachments.backend(reference, route, place.registry, place.policies)
    return ir.WeightedCluster(
        cluster=cluster_name(service, reference.port or 0) if service else ir.NOWHERE,
        weight=reference.weight,
        request_headers=_changes(step.request_header_modifier for step in reference.filters),
        response_headers=_changes(step.response_header_modifier for step in reference.filters),
    )


def _hash_policies(wanted: Iterable[BackendRef], route: Route, place: Place) -> tuple[ir.HashPolicy, ...]:
    """Return what DestinationRules want to be hashed for the backends."""
    found: list[ir.HashPolicy] = []
    for reference in wanted:
        if service := attachments.backend(reference, route, place.registry, place.policies):
            plain = default_route(service, reference.port or 0, place).action
            found += plain.hash_policies if isinstance(plain, ir.Forward) else ()
    return tuple(dict.fromkeys(found))


def _retries(action: ir.Forward, timeouts: Timeouts) -> ir.Retries:
    # A hashed request has only one right endpoint, so it may be tried again there.
    return replace(
        DEFAULT_RETRIES,
        previous_hosts=not action.hash_policies,
        per_try_timeout_s=timeouts.backend_request or None,
    )


def _mirrors(rule: Rule, route: Route, place: Place) -> Iterator[ir.Mirror]:
    for copy in mirrors_of(rule):
        service = attachments.backend(copy.backend_ref, route, place.registry, place.policies)
        if service and copy.share() > 0:
            yield ir.Mirror(cluster=cluster_name(service, copy.backend_ref.port or 0), percent=copy.share())


def mirrors_of(rule: Rule) -> Iterator[RequestMirror]:
    """Yield who gets copies of a rule's requests."""
    yield from (step.request_mirror for step in attachments.steps_of(rule) if step.request_mirror)


def _changes(modifiers: Iterable[HeaderModifier | None]) -> ir.HeaderChanges:
    found = next((modifier for modifier in modifiers if modifier), HeaderModifier())
    return ir.HeaderChanges(remove=found.remove, set=_literal(found.set), add=_literal(found.add))


def _literal(headers: Iterable[Header]) -> tuple[tuple[str, str], ...]:
    """Return headers whose `%` begins none of Envoy's commands, since the Gateway API knows of none."""
    return tuple((header.name, header.value.replace("%", "%%")) for header in headers)


def _redirect(redirect: RequestRedirect, prefix: str, place: Place) -> ir.Redirect:
    full = redirect.path.replace_full_path if redirect.path else None
    replaced, regex = _path_change(redirect.path, prefix) if full is None else (None, None)
    return ir.Redirect(
        code=redirect.status_code,
        path=full,
        prefix=replaced,
        regex=regex,
        authority=redirect.hostname,
        scheme=redirect.scheme,
        port=_redirect_port(redirect, place),
    )


def _redirect_port(redirect: RequestRedirect, place: Place) -> int | None:
    """
    Return the port to send a client to; None: the one that browsers leave out.

    Envoy keeps the port of the request's Host unless it is told another or the host is replaced; at a well-known port
    there is none to keep.
    """
    scheme = redirect.scheme or place.scheme
    port = redirect.port or (WELL_KNOWN[redirect.scheme] if redirect.scheme else place.port)
    silent = redirect.hostname is not None or place.port == WELL_KNOWN[place.scheme]
    return None if silent and port == WELL_KNOWN[scheme] else port


def _path_change(change: PathModifier | None, prefix: str) -> tuple[str | None, tuple[str, str] | None]:
    """Return a new prefix, or an expression and what it is replaced with; `prefix` is the one that is matched."""
    if change is None:
        return None, None
    if change.replace_full_path is not None:
        path = change.replace_full_path
        return None, (_WHOLE_PATH, _substitution(path if path.startswith("/") else f"/{path}"))
    wanted = (change.replace_prefix_match or "").rstrip("/")
    if wanted and not wanted.startswith("/"):
        wanted = f"/{wanted}"
    if wanted and prefix:
        return wanted, None
    # With nothing on one side, the slash behind the prefix must not be lost or doubled.
    return None, (f"^{re.escape(prefix)}/?", _substitution(f"{wanted}/"))


def _substitution(path: str) -> str:
    return path.replace("\\", "\\\\")


def _cors(cors: Cors) -> ir.Cors:
    return ir.Cors(
        origins=tuple(_origin(origin) for origin in cors.allow_origins),
        methods=cors.allow_methods,
        headers=cors.allow_headers,
        expose=cors.expose_headers,
        max_age_s=cors.max_age,
        credentials=cors.allow_credentials,
        forward_unmatched_preflights=False,
    )


def _origin(origin: str) -> ir.StringMatch:
    """Return the test of an origin; `*` stands for any number of labels, and the port is part of the origin."""
    if "*" not in origin:
        return ir.StringMatch(kind=ir.MatchKind.EXACT, value=origin)
    pattern = ".*" if origin == "*" else re.escape(origin).replace(r"\*", "[^/:]+")
    return ir.StringMatch(kind=ir.MatchKind.REGEX, value=pattern)

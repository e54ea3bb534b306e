"""VirtualServices into routes, as one proxy sees them: what depends on the proxy is decided here, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from clover.kit import grpc_statuses
from clover.mesh import ir
from clover.mesh.istio import resources
from clover.mesh.istio.claims import claim_path
from clover.mesh.istio.headers import HOST_HEADERS
from clover.mesh.istio.kinds.destination_rule import ConsistentHashLB, TrafficPolicy
from clover.mesh.istio.kinds.virtual_service import (
    CorsPolicy,
    Destination,
    HeaderOperations,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRoute,
    HTTPRouteDestination,
    OptionalMatch,
    PortSelector,
)
from clover.mesh.istio.policies import (
    MESH,
    NOTHING_SAID,
    Policies,
    gateway_names,
    labels_of,
    policy_for,
    service_at,
)
from clover.mesh.istio.registry import Registry, Service, Workload
from clover.mesh.istio.resources import DestinationRule, VirtualService
from clover.mesh.translate.clusters import cluster_name

DEFAULT_RETRIES = ir.Retries(
    attempts=2,
    conditions=("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"),
)
"""What Istio does when nobody says anything about retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where routes are for: one listener of one proxy."""

    registry: Registry
    policies: Policies
    workload: Workload
    port: int
    """Port that the listener takes traffic on."""
    gateways: frozenset[str] = frozenset({MESH})
    """`mesh`, or the Gateways that opened the listener."""
    scheme: str = "http"
    """What clients call the listener by."""


def routes_from(service: VirtualService, place: Place) -> tuple[ir.Route, ...]:
    """Return the routes of a VirtualService, in order, up to the first that takes every request."""
    routes: list[ir.Route] = []
    for name, match, tests, rule, owner in _cases(service, place):
        route = _route(name, match, rule, owner, place)
        if tests is not None and tests.stat_prefix:
            route = replace(route, stat_prefix=tests.stat_prefix)
        if owner is not service:
            route = replace(route, sources=(resources.key(service), *route.sources))
        routes.append(route)
        if takes_everything(route.match):
            break
    return tuple(routes)


def default_route(service: Service, port: int, place: Place) -> ir.Route:
    """Return the route of a service that no VirtualService speaks of."""
    destination = Destination(host=service.host, port=PortSelector(number=port))
    hashing = _hash_policies((destination,), place, service.namespace)
    return ir.Route(
        name="default",
        match=ir.RequestMatch(),
        action=ir.Forward(to=(ir.WeightedCluster(cluster=cluster_name(service, port)),), hash_policies=hashing),
        retries=_retries(None, hashed=bool(hashing)),
    )


def takes_everything(match: ir.RequestMatch) -> bool:
    """Tell whether no request is left for later rules."""
    path = match.path
    anything = path is None or (path.kind, path.value) in ((ir.MatchKind.PREFIX, "/"), (ir.MatchKind.REGEX, ".*"))
    return anything and not match.headers and not match.query and not match.claims


def port_of(destination: Destination, service: Service, listener_port: int) -> int:
    """Return the service port that a destination means."""
    if destination.port:
        return destination.port.number
    return service.ports[0].number if len(service.ports) == 1 else listener_port


def applies(match: HTTPMatchRequest, place: Place, namespace: str) -> bool:
    """Tell whether a match can hold at this proxy at all; as in Istio, `gateways` leave the source unasked."""
    if match.port is not None and match.port != place.port:
        return False
    if match.gateways:
        return not place.gateways.isdisjoint(gateway_names(match.gateways, namespace))
    if not match.source_labels.items() <= labels_of(place.workload).items():
        return False
    return match.source_namespace in ("", place.workload.namespace)


def merged(tables: Iterable[tuple[ir.Route, ...]]) -> tuple[ir.Route, ...]:
    """
    Return the routes of several VirtualServices for one host, those that take every request last.

    As in Istio, what is left is the order of the tables; of several that take every request the first one decides.
    """
    routes = list(dict.fromkeys(route for table in tables for route in table))
    last = next((route for route in routes if takes_everything(route.match)), None)
    return (*(route for route in routes if not takes_everything(route.match)), *((last,) if last else ()))


_Case = tuple[str, ir.RequestMatch, HTTPMatchRequest | None, HTTPRoute, VirtualService]


def _cases(service: VirtualService, place: Place) -> Iterator[_Case]:
    """
    Yield every rule once per match that can hold here, with the VirtualService that it is written in.

    Names stay few, since they name spans.
    """
    for index, (rule, owner) in enumerate(place.policies.rules_of(service)):
        name = rule.name or f"{service.metadata.name}.{index}"
        if not rule.match:
            yield name, ir.RequestMatch(), None, rule, owner
        for match in rule.match:
            if applies(match, place, owner.metadata.namespace):
                yield f"{name}.{match.name}" if match.name else name, match_from(match), match, rule, owner


def _route(name: str, match: ir.RequestMatch, rule: HTTPRoute, service: VirtualService, place: Place) -> ir.Route:
    namespace = service.metadata.namespace
    hashing = _hash_policies((share.destination for share in rule.route), place, namespace)
    return ir.Route(
        name=name,
        match=match,
        action=_action(rule, hashing, place, namespace),
        timeout_s=rule.timeout or 0.0,
        retries=_retries(rule.retries, hashed=bool(hashing)) if rule.route else None,
        fault=_fault(rule.fault),
        cors=_cors(rule.cors_policy),
        mirrors=tuple(
            ir.Mirror(cluster=cluster_of(destination, place, namespace), percent=share)
            for destination, share in rule.mirrored()
            if share > 0
        )
        if rule.route
        else (),
        request_headers=_changes(rule.headers.request),
        response_headers=_changes(rule.headers.response),
        sources=(resources.key(service), *rules_of(rule, place, namespace)),
    )


def _action(
    rule: HTTPRoute, hashing: tuple[ir.HashPolicy, ...], place: Place, namespace: str
) -> ir.Forward | ir.Redirect | ir.DirectResponse:
    if rule.redirect:
        return _redirect(rule.redirect, place.port)
    if rule.direct_response:
        body = rule.direct_response.body
        return ir.DirectResponse(code=rule.direct_response.status, body=body.content() if body else b"")
    rewrite = rule.rewrite
    regex = rewrite.uri_regex_rewrite if rewrite else None
    return ir.Forward(
        to=_shares(rule.route, place, namespace),
        rewrite_prefix=rewrite.uri if rewrite else None,
        rewrite_regex=(regex.match, regex.rewrite) if regex else None,
        rewrite_authority=(rewrite.authority if rewrite else None) or _host_set(rule.headers.request),
        hash_policies=hashing,
    )


def _shares(route: tuple[HTTPRouteDestination, ...], place: Place, namespace: str) -> tuple[ir.WeightedCluster, ...]:
    return tuple(
        ir.WeightedCluster(
            cluster=cluster_of(share.destination, place, namespace),
            weight=100 if len(route) == 1 else share.weight,
            request_headers=_changes(share.headers.request),
            response_headers=_changes(share.headers.response),
        )
        for share in route
        if len(route) == 1 or share.weight > 0
    )


def cluster_of(destination: Destination, place: Place, namespace: str) -> str:
    """Return the cluster that a destination means at one listener, as written in a resource of `namespace`."""
    service = service_at(place.registry, destination.host, namespace)
    if service is None:
        raise LookupError(f"destination {destination.host!r} was not validated against the registry")
    return cluster_name(service, port_of(destination, service, place.port), destination.subset)


def rule_for(service: Service, place: Place) -> DestinationRule | None:
    """Return the DestinationRule that a proxy obeys for a service."""
    workload = place.workload
    return place.policies.destination_rule_for(service, seen_from=workload.namespace, labels=labels_of(workload))


def policy_of(destination: Destination, place: Place, namespace: str) -> TrafficPolicy:
    """Return what is asked for a destination at one listener, as written in a resource of `namespace`."""
    service = service_at(place.registry, destination.host, namespace)
    if service is None:
        return NOTHING_SAID
    rule = rule_for(service, place)
    subsets = rule.spec.subsets if rule else ()
    subset = next((item for item in subsets if item.name == destination.subset), None)
    return policy_for(rule, port_of(destination, service, place.port), subset)


def match_from(match: HTTPMatchRequest) -> ir.RequestMatch:
    """Return the tests of one match that are made for each request."""
    pseudo = ((":scheme", match.scheme), (":method", match.method), (":authority", match.authority))
    return ir.RequestMatch(
        path=_string(match.uri, ignore_case=match.ignore_uri_case) if match.uri else None,
        headers=(
            *(ir.NamedMatch(name=name, match=_string(test)) for name, test in pseudo if test),
            *(ir.NamedMatch(name=name, match=_string(test)) for name, test in _headers(match.headers)),
            *(
                ir.NamedMatch(name=name, match=_string(test), invert=True)
                for name, test in _headers(match.without_headers)
            ),
        ),
        claims=(
            *(ir.ClaimMatch(path=path, match=_string(test)) for path, test in _claims(match.headers)),
            *(
                ir.ClaimMatch(path=path, match=_string(test), invert=True)
                for path, test in _claims(match.without_headers)
            ),
        ),
        query=tuple(ir.NamedMatch(name=name, match=_string(test)) for name, test in match.query_params.items()),
    )


def _headers(tests: Mapping[str, OptionalMatch]) -> Iterator[tuple[str, OptionalMatch]]:
    return ((name, test) for name, test in tests.items() if not claim_path(name))


def _claims(tests: Mapping[str, OptionalMatch]) -> Iterator[tuple[tuple[str, ...], OptionalMatch]]:
    return ((path, test) for name, test in tests.items() if (path := claim_path(name)))


def _string(test: OptionalMatch, *, ignore_case: bool = False) -> ir.StringMatch:
    """Return a test; of nothing, or of the regex `*`, presence is left."""
    if test.exact is not None:
        return ir.StringMatch(kind=ir.MatchKind.EXACT, value=test.exact, ignore_case=ignore_case)
    if test.prefix is not None:
        return ir.StringMatch(kind=ir.MatchKind.PREFIX, value=test.prefix, ignore_case=ignore_case)
    if test.regex is not None and test.regex != "*":
        # As in Istio, ignoring case is not for regular expressions, which can say `(?i)` themselves.
        return ir.StringMatch(kind=ir.MatchKind.REGEX, value=test.regex)
    return ir.StringMatch(kind=ir.MatchKind.PRESENT)


def _redirect(redirect: HTTPRedirect, listener_port: int) -> ir.Redirect:
    port = listener_port if redirect.derive_port == "FROM_REQUEST_PORT" else redirect.port
    if (redirect.scheme or "http", port) in (("http", 80), ("https", 443)):
        port = None  # what a browser leaves out, a redirect leaves out
    return ir.Redirect(
        code=redirect.redirect_code,
        path=redirect.uri,
        prefix=redirect.prefix_rewrite,
        authority=redirect.authority,
        scheme=redirect.scheme,
        port=port,
    )


def _changes(operations: HeaderOperations) -> ir.HeaderChanges:
    """Return header changes without those of the host, which rewrite the authority instead."""
    return ir.HeaderChanges(
        remove=operations.remove,
        set=tuple((name, value) for name, value in operations.set.items() if name.lower() not in HOST_HEADERS),
        add=tuple(operations.add.items()),
    )


def _host_set(operations: HeaderOperations) -> str | None:
    return next((value for name, value in operations.set.items() if name.lower() in HOST_HEADERS), None)


def _retries(wanted: HTTPRetry | None, *, hashed: bool) -> ir.Retries | None:
    """Return the retries of a route; a hashed request has only one right endpoint, so it may be tried again there."""
    if wanted is None:
        return ir.Retries(
            attempts=DEFAULT_RETRIES.attempts, conditions=DEFAULT_RETRIES.conditions, previous_hosts=not hashed
        )
    if wanted.attempts == 0:
        return None
    words = tuple(word for part in wanted.retry_on.split(",") if (word := part.strip()))
    statuses = tuple(int(word) for word in words if word.isdecimal())
    conditions = tuple(word for word in words if not word.isdecimal())
    if statuses and "retriable-status-codes" not in conditions:
        conditions = (*conditions, "retriable-status-codes")
    avoid = wanted.retry_ignore_previous_hosts
    return ir.Retries(
        attempts=wanted.attempts,
        conditions=conditions or DEFAULT_RETRIES.conditions,
        status_codes=statuses,
        per_try_timeout_s=wanted.per_try_timeout,
        backoff_s=wanted.backoff,
        previous_hosts=not hashed if avoid is None else avoid,
    )


def _fault(fault: HTTPFaultInjection | None) -> ir.Fault | None:
    delay = fault.delay if fault and fault.delay and fault.delay.share() > 0 else None
    abort = fault.abort if fault and fault.abort and fault.abort.share() > 0 else None
    if delay is None and abort is None:
        return None
    return ir.Fault(
        delay_s=delay.fixed_delay if delay else 0.0,
        delay_percent=delay.share() if delay else 0.0,
        abort_status=(abort.http_status or 0) if abort else 0,
        abort_grpc_status=grpc_statuses.NAMES.index(abort.grpc_status) if abort and abort.grpc_status else None,
        abort_percent=abort.share() if abort else 0.0,
    )


def _cors(policy: CorsPolicy | None) -> ir.Cors | None:
    if policy is None:
        return None
    return ir.Cors(
        origins=tuple(_string(origin) for origin in policy.allow_origins)
        or tuple(ir.StringMatch(kind=ir.MatchKind.EXACT, value=origin) for origin in policy.allow_origin),
        methods=policy.allow_methods,
        headers=policy.allow_headers,
        expose=policy.expose_headers,
        max_age_s=None if policy.max_age is None else int(policy.max_age),
        credentials=policy.allow_credentials,
        forward_unmatched_preflights=policy.unmatched_preflights != "IGNORE",
    )


def _hash_policies(destinations: Iterable[Destination], place: Place, namespace: str) -> tuple[ir.HashPolicy, ...]:
    """Return what the route must hash for its clusters: the balancer alone would not know."""
    policies = []
    for destination in destinations:
        if choice := _consistent_hash(destination, place, namespace):
            policies.append(_hash_policy(choice))
    return tuple(dict.fromkeys(policies))


def _consistent_hash(destination: Destination, place: Place, namespace: str) -> ConsistentHashLB | None:
    balancer = policy_of(destination, place, namespace).load_balancer
    return balancer.consistent_hash if balancer else None


def _hash_policy(choice: ConsistentHashLB) -> ir.HashPolicy:
    if choice.http_header_name:
        return ir.HashPolicy(header=choice.http_header_name)
    if cookie := choice.http_cookie:
        return ir.HashPolicy(
            cookie=cookie.name,
            cookie_path=cookie.path,
            cookie_ttl_s=cookie.ttl,
            cookie_attributes=tuple((attribute.name, attribute.value) for attribute in cookie.attributes),
        )
    if choice.http_query_parameter_name:
        return ir.HashPolicy(query=choice.http_query_parameter_name)
    return ir.HashPolicy(source_ip=True)


def rules_of(rule: HTTPRoute, place: Place, namespace: str) -> tuple[str, ...]:
    """Return the DestinationRules that a rule's subsets and hashes come from."""
    found = []
    for destination in (*(share.destination for share in rule.route), *(copy for copy, _ in rule.mirrored())):
        service = service_at(place.registry, destination.host, namespace)
        chosen = service and rule_for(service, place)
        if chosen:
            found.append(resources.key(chosen))
    return tuple(dict.fromkeys(found))

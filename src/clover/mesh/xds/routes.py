"""Route tables: virtual hosts, rules, and what happens to a request that matches."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from envoy.type.v3 import percent_pb2

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.authentication import FILTER, PAYLOAD
from clover.mesh.xds import clusters
from clover.mesh.xds.http import CORS, FAULT
from clover.mesh.xds.messages import duration
from clover.mesh.xds.resource import CLUSTER, Resource, made_of, packed, serialised

_MAX_DIRECT_RESPONSE_BYTES = 1 << 20
_SAME_HOST_ATTEMPTS = 5
_REDIRECTS = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


@remembered
def table(table: ir.RouteTable) -> Resource:
    """Return a route table as it is sent to a proxy."""
    routes = [route for host in table.virtual_hosts for route in host.routes]
    return made_of(
        table.name,
        route_pb2.RouteConfiguration,
        (serialised(configuration(table.name, ())), *map(_host_alone, table.virtual_hosts)),
        requires=((CLUSTER, name) for route in routes for name in targets(route)),
        sources=[*table.sources, *(source for route in routes for source in route.sources)],
    )


def targets(route: ir.Route) -> Iterable[str]:
    """Yield the clusters that a route sends to, mirrors included."""
    if isinstance(route.action, ir.Forward):
        yield from (share.cluster for share in route.action.to if share.cluster != ir.NOWHERE)
    yield from (mirror.cluster for mirror in route.mirrors)


@remembered
def _host_alone(host: ir.VirtualHost) -> bytes:
    """Return a table with nothing but one virtual host: large tables that differ in one have all others in common."""
    return serialised(route_pb2.RouteConfiguration(virtual_hosts=[_virtual_host(host)]))


def configuration(name: str, hosts: Iterable[ir.VirtualHost]) -> route_pb2.RouteConfiguration:
    """Return an Envoy route table."""
    result = route_pb2.RouteConfiguration(name=name, ignore_port_in_host_matching=True)
    result.validate_clusters.value = False
    result.max_direct_response_body_size_bytes.value = _MAX_DIRECT_RESPONSE_BYTES
    result.virtual_hosts.extend(map(_virtual_host, hosts))
    return result


def _virtual_host(host: ir.VirtualHost) -> route_components_pb2.VirtualHost:
    result = route_components_pb2.VirtualHost(
        name=host.name, domains=host.domains, routes=[_route(route) for route in host.routes]
    )
    if host.only_tls:
        result.require_tls = route_components_pb2.VirtualHost.ALL
    return result


def to_own_function(port: ir.InboundPort) -> route_pb2.RouteConfiguration:
    """
    Return the table of an inbound port: everything goes to the function.

    A server that reloads closes the connections that it has kept alive, perhaps in the moment in which a request is on
    its way. A request that does no harm when repeated is then sent again; any other is never sent on a connection that
    has been used before.
    """
    name = clusters.inbound_name(port)
    if clusters.inbound_once_name(port) == name:
        routes: tuple[ir.Route, ...] = (_to_function("default", name, conditions=("reset-before-request",)),)
    else:
        routes = (
            _to_function("default", name, match=_REPEATABLE, conditions=("reset", "connect-failure")),
            _to_function("default", clusters.inbound_once_name(port), conditions=("connect-failure",)),
        )
    return configuration(name, [ir.VirtualHost(name=f"inbound|http|{port.port}", domains=("*",), routes=routes)])


_ALL = ir.RequestMatch()
_REPEATABLE = ir.RequestMatch(
    headers=(
        ir.NamedMatch(name=":method", match=ir.StringMatch(kind=ir.MatchKind.REGEX, value="GET|HEAD|OPTIONS|TRACE")),
    )
)
"""The safe methods of RFC 9110: a server that is asked twice does nothing twice."""


def _to_function(name: str, cluster: str, *, conditions: tuple[str, ...], match: ir.RequestMatch = _ALL) -> ir.Route:
    return ir.Route(
        name=name,
        match=match,
        action=ir.Forward(to=(ir.WeightedCluster(cluster=cluster),)),
        # The caller's sidecar writes the time of each attempt into the call. To end it here as well would
        # be an answer, after which the caller's sidecar does not try again.
        keeps_deadline=False,
        retries=ir.Retries(attempts=2, conditions=conditions, backoff_s=0.005, previous_hosts=False),
    )


@remembered
def _route(route: ir.Route) -> route_components_pb2.Route:
    message = route_components_pb2.Route(name=route.name, match=_match(route.match), stat_prefix=route.stat_prefix)
    match route.action:
        case ir.Forward():
            message.route.CopyFrom(_forward(route, route.action))
        case ir.Redirect():
            message.redirect.CopyFrom(_redirect(route.action))
        case ir.DirectResponse():
            message.direct_response.status = route.action.code
            if route.action.body:
                message.direct_response.body.inline_bytes = route.action.body
    _change(message, "request", route.request_headers)
    _change(message, "response", route.response_headers)
    if route.fault is not None:
        message.typed_per_filter_config[FAULT].CopyFrom(packed(_fault(route.fault)))
    if route.cors is not None:
        message.typed_per_filter_config[CORS].CopyFrom(packed(_cors(route.cors)))
    return message


def _string(match: ir.StringMatch) -> string_pb2.StringMatcher:
    result = string_pb2.StringMatcher()
    match match.kind:
        case ir.MatchKind.EXACT:
            result.exact = match.value
        case ir.MatchKind.PREFIX:
            result.prefix = match.value
        case ir.MatchKind.REGEX:
            result.safe_regex.regex = _regex(match)
        case ir.MatchKind.PRESENT | ir.MatchKind.PATH_PREFIX:
            raise ValueError(f"{match.kind} is no test of a string")
    if match.ignore_case and match.kind is not ir.MatchKind.REGEX:
        result.ignore_case = True
    return result


def _regex(match: ir.StringMatch) -> str:
    return f"(?i){match.value}" if match.ignore_case else match.value


def _match(match: ir.RequestMatch) -> route_components_pb2.RouteMatch:
    result = route_components_pb2.RouteMatch()
    path = match.path
    if path is None or path.kind is ir.MatchKind.PRESENT:
        result.prefix = "/"
    elif path.kind is ir.MatchKind.EXACT:
        result.path = path.value
    elif path.kind is ir.MatchKind.PREFIX:
        result.prefix = path.value
    elif path.kind is ir.MatchKind.PATH_PREFIX:
        result.path_separated_prefix = path.value
    else:
        result.safe_regex.regex = _regex(path)
    if path is not None and path.ignore_case and path.kind is not ir.MatchKind.REGEX:
        result.case_sensitive.value = False
    for test in match.headers:
        header = result.headers.add(name=test.name, invert_match=test.invert)
        if test.match.kind is ir.MatchKind.PRESENT:
            header.present_match = True
        else:
            header.string_match.CopyFrom(_string(test.match))
            # An inverted test of a header that is absent would otherwise fail.
            header.treat_missing_header_as_empty = test.invert
    for test in match.query:
        parameter = result.query_parameters.add(name=test.name)
        if test.match.kind is ir.MatchKind.PRESENT:
            parameter.present_match = True
        else:
            parameter.string_match.CopyFrom(_string(test.match))
    result.dynamic_metadata.extend(map(_claim, match.claims))
    return result


def _claim(test: ir.ClaimMatch) -> metadata_pb2.MetadataMatcher:
    """Return a test of what the JWT filter has noted: of a text, or of any text in a list."""
    if test.match.kind is ir.MatchKind.PRESENT:
        wanted = value_pb2.ValueMatcher(present_match=True)
    else:
        wanted = value_pb2.ValueMatcher(string_match=_string(test.match))
    result = metadata_pb2.MetadataMatcher(
        filter=FILTER, path=[{"key": key} for key in (PAYLOAD, *test.path)], invert=test.invert
    )
    in_list = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=wanted))
    result.value.or_match.value_matchers.extend([in_list, wanted])
    return result


def _forward(route: ir.Route, forward: ir.Forward) -> route_components_pb2.RouteAction:
    action = route_components_pb2.RouteAction()
    alone = len(forward.to) == 1 and forward.to[0].request_headers == forward.to[0].response_headers == ir.NO_CHANGES
    if alone:
        action.cluster = forward.to[0].cluster
    else:
        for share in forward.to:
            target = action.weighted_clusters.clusters.add(name=share.cluster)
            target.weight.value = share.weight
            _change(target, "request", share.request_headers)
            _change(target, "response", share.response_headers)
    action.timeout.CopyFrom(duration(route.timeout_s))
    # A `max_stream_duration`, which is newer, makes Envoy forget `timeout`; as on Istio, the older word stays.
    if route.keeps_deadline:
        action.max_grpc_timeout.CopyFrom(duration(route.timeout_s))
    if forward.rewrite_prefix is not None:
        action.prefix_rewrite = forward.rewrite_prefix
    if forward.rewrite_regex is not None:
        pattern, substitution = forward.rewrite_regex
        action.regex_rewrite.pattern.regex = pattern
        action.regex_rewrite.substitution = substitution
    if forward.rewrite_authority is not None:
        action.host_rewrite_literal = forward.rewrite_authority
    if forward.nowhere_status == 500:
        action.cluster_not_found_response_code = route_components_pb2.RouteAction.INTERNAL_SERVER_ERROR
    for policy in forward.hash_policies:
        action.hash_policy.append(_hash_policy(policy))
    for mirror in route.mirrors:
        copy = action.request_mirror_policies.add(cluster=mirror.cluster)
        copy.runtime_fraction.default_value.CopyFrom(_fraction(mirror.percent))
    if route.retries is not None and route.retries.attempts > 0:
        action.retry_policy.CopyFrom(_retry_policy(route.retries))
    return action


def _hash_policy(policy: ir.HashPolicy) -> route_components_pb2.RouteAction.HashPolicy:
    result = route_components_pb2.RouteAction.HashPolicy()
    if policy.header:
        result.header.header_name = policy.header
    elif policy.cookie:
        result.cookie.name = policy.cookie
        result.cookie.path = policy.cookie_path
        if policy.cookie_ttl_s is not None:
            result.cookie.ttl.CopyFrom(duration(policy.cookie_ttl_s))
        for name, value in policy.cookie_attributes:
            result.cookie.attributes.add(name=name, value=value)
    elif policy.query:
        result.query_parameter.name = policy.query
    else:
        result.connection_properties.source_ip = policy.source_ip
    return result


def _retry_policy(retries: ir.Retries) -> route_components_pb2.RetryPolicy:
    result = route_components_pb2.RetryPolicy(
        retry_on=",".join(retries.conditions), retriable_status_codes=retries.status_codes
    )
    result.num_retries.value = retries.attempts
    if retries.per_try_timeout_s is not None:
        result.per_try_timeout.CopyFrom(duration(retries.per_try_timeout_s))
    if retries.backoff_s is not None:
        result.retry_back_off.base_interval.CopyFrom(duration(retries.backoff_s))
    if retries.previous_hosts:
        result.retry_host_predicate.add(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
        )
        result.host_selection_retry_max_attempts = _SAME_HOST_ATTEMPTS
    return result


def _redirect(redirect: ir.Redirect) -> route_components_pb2.RedirectAction:
    result = route_components_pb2.RedirectAction(response_code=_REDIRECTS[redirect.code])
    if redirect.path is not None:
        result.path_redirect = redirect.path
    if redirect.prefix is not None:
        result.prefix_rewrite = redirect.prefix
    if redirect.regex is not None:
        pattern, substitution = redirect.regex
        result.regex_rewrite.pattern.regex = pattern
        result.regex_rewrite.substitution = substitution
    if redirect.authority is not None:
        result.host_redirect = redirect.authority
    if redirect.scheme is not None:
        result.scheme_redirect = redirect.scheme
    if redirect.port is not None:
        result.port_redirect = redirect.port
    return result


def _fault(fault: ir.Fault) -> fault_pb2.HTTPFault:
    result = fault_pb2.HTTPFault()
    if fault.delay_s > 0:
        result.delay.fixed_delay.CopyFrom(duration(fault.delay_s))
        result.delay.percentage.CopyFrom(_fraction(fault.delay_percent))
    if fault.abort_grpc_status is not None:
        result.abort.grpc_status = fault.abort_grpc_status
        result.abort.percentage.CopyFrom(_fraction(fault.abort_percent))
    elif fault.abort_status:
        result.abort.http_status = fault.abort_status
        result.abort.percentage.CopyFrom(_fraction(fault.abort_percent))
    return result


def _cors(cors: ir.Cors) -> cors_pb2.CorsPolicy:
    result = cors_pb2.CorsPolicy(
        allow_origin_string_match=[_string(origin) for origin in cors.origins],
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose),
    )
    if cors.max_age_s is not None:
        result.max_age = str(cors.max_age_s)
    if cors.credentials is not None:
        result.allow_credentials.value = cors.credentials
    result.forward_not_matching_preflights.value = cors.forward_unmatched_preflights
    result.filter_enabled.default_value.CopyFrom(_fraction(100.0))
    return result


def _fraction(percent: float) -> percent_pb2.FractionalPercent:
    return percent_pb2.FractionalPercent(
        numerator=round(percent * 10_000), denominator=percent_pb2.FractionalPercent.MILLION
    )


def _change(
    message: route_components_pb2.Route | route_components_pb2.WeightedCluster.ClusterWeight,
    side: str,
    changes: ir.HeaderChanges,
) -> None:
    """Write header changes into the `request_` or `response_` fields of a route or of a share of one."""
    getattr(message, f"{side}_headers_to_remove").extend(changes.remove)
    for pairs, action in (
        (changes.set, base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        (changes.add, base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
    ):
        for name, value in pairs:
            getattr(message, f"{side}_headers_to_add").add(
                header=base_pb2.HeaderValue(key=name, value=value), append_action=action
            )

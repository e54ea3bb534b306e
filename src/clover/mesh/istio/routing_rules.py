"""What a VirtualService must satisfy: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from clover.mesh.istio import asked_names, connection_rules, delegate_rules, hosts, resources
from clover.mesh.istio.destination_checks import destination_findings, unknown_host
from clover.mesh.istio.expressions import regex_problem, substitution_problem
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.headers import HOST_HEADERS, change_findings
from clover.mesh.istio.kinds.virtual_service import (
    HTTPRoute,
    HTTPRouteDestination,
    RouteDestination,
    TCPRoute,
    TLSRoute,
)
from clover.mesh.istio.match_rules import expressions_fit, matches_make_sense, rules_are_reached
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import MESH, bound_to, served_domains
from clover.mesh.istio.resources import VirtualService

HOST = re.compile(r"\*|(?:\*[.-])?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
RETRY_CONDITIONS = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
_MAX_BODY_BYTES = 1 << 20
_MAX_WEIGHTS = 2**32 - 1


def hosts_exist(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Sidecars are asked for services of the mesh; only at a gateway are there other names."""
    bound = bound_to(resource)
    seen: set[str] = set()
    for index, written in enumerate(resource.spec.hosts):
        path: Path = ("spec", "hosts", index)
        host = hosts.full_host(written, resource.metadata.namespace)
        if not HOST.fullmatch(written):
            hint = "leave the port out" if re.search(r":[0-9]+$", written) else ""
            yield Finding(code="CLV4201", path=path, what=f"{cut(written)!r} is not a host name", hint=hint)
        elif host in seen:
            yield Finding(code="CLV4207", path=path, what=f"the host {written!r} is written twice")
        elif host == "*" and MESH in bound:
            what = "the host '*' stands for every service of the mesh, which Istio does not allow"
            yield Finding(code="CLV4201", path=path, what=what, hint="name the services, or bind it to a gateway")
        elif bound == (MESH,) and not mesh.covered(host):
            yield unknown_host(written, path, mesh, namespace=resource.metadata.namespace)
        seen.add(host)


def gateways_exist(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A VirtualService is bound to Gateways that are there, and that serve a host of it."""
    known = [f"{gateway.metadata.namespace}/{gateway.metadata.name}" for gateway in mesh.policies.gateways]
    for index, name in enumerate(bound_to(resource)):
        path: Path = ("spec", "gateways", index)
        gateway = mesh.gateway(name)
        if name == MESH:
            continue
        if gateway is None:
            names = (MESH, *known, *(other.rpartition("/")[2] for other in known))
            hint = nearest(resource.spec.gateways[index], names) or f"there are {', '.join(map(repr, known)) or 'none'}"
            what = f"there is no Gateway {name!r}"
            yield Finding(code="CLV4208", path=path, what=what, hint=hint, istio="IST0101")
        elif not any(any(served_domains(resource, gateway, server)) for server in gateway.spec.servers):
            what = f"Gateway {name!r} serves none of the VirtualService's hosts"
            yield Finding(code="CLV4208", path=path, what=what, severity="warning", istio="IST0132")


def hosts_have_one_virtual_service(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Two VirtualServices for one host of the sidecars would leave it open which one decides."""
    reported: set[tuple[str, str]] = set()
    own = resources.key(resource)
    for claim in mesh.claims(resource):
        owner = mesh.owners.get(claim, "")
        if owner in ("", own) or (owner, claim.host) in reported:
            continue
        reported.add((owner, claim.host))
        name = owner.partition("/")[2]
        yield Finding(
            code="CLV4207",
            path=("spec", "hosts"),
            what=f"the host {claim.host!r} already has a VirtualService in the sidecars: {name!r}",
            hint=f"put the rules into {name!r}, or delete it first",
            istio="IST0109" if isinstance(claim.where, str) else "",
        )


def rules_do_one_thing(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A rule sends requests on, redirects them, or answers them."""
    for index, rule in enumerate(resource.spec.http):
        path: Path = ("spec", "http", index)
        given = [
            name
            for name, value in (
                ("route", rule.route),
                ("redirect", rule.redirect),
                ("directResponse", rule.direct_response),
                ("delegate", rule.delegate),
            )
            if value
        ]
        if len(given) != 1:
            found = " and ".join(map(repr, given)) or "none of them"
            what = f"{found} is set, expected one of 'route', 'redirect', 'directResponse' and 'delegate'"
            yield Finding(code="CLV4213", path=path, what=what)
        elif not rule.route and not rule.delegate:
            yield from _only_for_routes(rule, path, given[0])


def _only_for_routes(rule: HTTPRoute, path: Path, action: str) -> Iterator[Finding]:
    for name, value in (("rewrite", rule.rewrite), ("fault", rule.fault)):
        if value:
            yield Finding(code="CLV4213", path=(*path, name), what=f"{name!r} and {action!r} exclude each other")
    for name, given in (
        ("timeout", rule.timeout is not None),
        ("retries", rule.retries is not None),
        ("mirror", rule.mirror is not None),
        ("mirrors", bool(rule.mirrors)),
    ):
        if given:
            yield _no_effect((*path, name), f"{name!r} does nothing where requests are not sent on")


def destinations_exist(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Whatever a rule sends to, or copies to, is a service of the mesh."""
    for index, rule in enumerate(resource.spec.http):
        path: Path = ("spec", "http", index)
        ports = _ports_of(rule, resource, mesh)
        for number, share in enumerate(rule.route):
            here = (*path, "route", number, "destination")
            yield from destination_findings(share.destination, here, resource=resource, ports=ports, mesh=mesh)
        for number, (destination, percent) in enumerate(rule.mirrored()):
            here = (*path, "mirror") if rule.mirror else (*path, "mirrors", number, "destination")
            yield from destination_findings(destination, here, resource=resource, ports=ports, mesh=mesh)
            if percent == 0:
                yield _no_effect(here, "0 percent of the requests are copied")
    for path, connections in connection_rules.rules_of(resource):
        ports = _ports_of(connections, resource, mesh)
        for number, part in enumerate(connections.route):
            here = (*path, "route", number, "destination")
            yield from destination_findings(part.destination, here, resource=resource, ports=ports, mesh=mesh)


def _ports_of(rule: HTTPRoute | TCPRoute | TLSRoute, resource: VirtualService, mesh: Mesh) -> set[int]:
    """Return the listeners' ports on which a rule can hold."""
    ports = mesh.listener_ports(resource)
    if rule.match and all(match.port is not None for match in rule.match):
        return ports & {match.port for match in rule.match if match.port is not None}
    return ports


def weights_add_up(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Weights share the traffic out: some of them is more than 0, and people expect them to be percent."""
    for index, rule in enumerate(resource.spec.http):
        yield from _weights(rule.route, ("spec", "http", index, "route"))
    for path, connections in connection_rules.rules_of(resource):
        yield from _weights(connections.route, (*path, "route"))


def _weights(route: Sequence[HTTPRouteDestination | RouteDestination], path: Path) -> Iterator[Finding]:
    if len(route) < 2:
        return
    total = sum(share.weight for share in route)
    if total == 0:
        hint = "give each destination its 'weight'"
        yield Finding(code="CLV4205", path=path, what="the weights of the destinations are all 0", hint=hint)
    elif total > _MAX_WEIGHTS:
        yield Finding(code="CLV4205", path=path, what=f"the weights add up to {total}, more than {_MAX_WEIGHTS}")
    elif total != 100:
        what = f"the weights add up to {total}; they are taken as shares of {total}, not as percent"
        yield Finding(code="CLV4206", path=path, what=what, severity="warning")
    for number, share in enumerate(route):
        if share.weight == 0 and "weight" not in share.model_fields_set and total:
            yield _no_effect((*path, number), "the destination has no 'weight' and gets no traffic")


def rewrites_are_expressions(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A rewrite by expression has an expression that Envoy takes, and refers to groups that it has."""
    for index, rule in enumerate(resource.spec.http):
        regex = rule.rewrite.uri_regex_rewrite if rule.rewrite else None
        if regex is None:
            continue
        path: Path = ("spec", "http", index, "rewrite", "uriRegexRewrite")
        if problem := regex_problem(regex.match):
            yield Finding(code="CLV4211", path=(*path, "match"), what=problem)
        if problem := substitution_problem(regex.match, regex.rewrite):
            yield Finding(code="CLV4211", path=(*path, "rewrite"), what=problem)


def headers_may_change(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Headers are changed by names and values that Envoy takes; the host is rewritten by a rule, not by a share."""
    for index, rule in enumerate(resource.spec.http):
        path: Path = ("spec", "http", index, "headers")
        yield from change_findings(rule.headers.request, (*path, "request"), may_set_host=bool(rule.route))
        yield from change_findings(rule.headers.response, (*path, "response"), may_set_host=False)
        hosts_set = [name for name in rule.headers.request.set if name.lower() in HOST_HEADERS]
        if len(hosts_set) + bool(rule.rewrite and rule.rewrite.authority) > 1:
            what = "the host is set in two ways; 'rewrite.authority' decides, else the first"
            yield Finding(code="CLV4212", path=(*path, "request", "set"), what=what, severity="warning")
        for number, share in enumerate(rule.route):
            yield from _share_headers(share, ("spec", "http", index, "route", number, "headers"))


def _share_headers(share: HTTPRouteDestination, path: Path) -> Iterator[Finding]:
    yield from change_findings(share.headers.request, (*path, "request"), may_set_host=False)
    yield from change_findings(share.headers.response, (*path, "response"), may_set_host=False)


def retries_have_known_conditions(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Envoy takes any word as a condition, and never retries on one that it does not know."""
    for index, rule in enumerate(resource.spec.http):
        path: Path = ("spec", "http", index, "retries")
        for word in rule.retries.retry_on.split(",") if rule.retries else ():
            word = word.strip()
            if word.isascii() and word.isdecimal():
                if not 100 <= int(word[:9]) <= 599:
                    what = f"{cut(word)!r} is not an HTTP status"
                    yield Finding(code="CLV4217", path=(*path, "retryOn"), what=what)
            elif word and word not in RETRY_CONDITIONS:
                what = f"{cut(word)!r} is not a condition that Envoy knows"
                hint = nearest(word, RETRY_CONDITIONS)
                yield Finding(code="CLV4217", path=(*path, "retryOn"), what=what, hint=hint)
        if rule.retries and rule.retries.attempts == 0 and rule.retries.model_fields_set - {"attempts"}:
            yield _no_effect(path, "there are 0 attempts, so nothing is retried")


def faults_happen(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A fault without a share of the requests happens, as in Istio, to none."""
    for index, rule in enumerate(resource.spec.http):
        path: Path = ("spec", "http", index, "fault")
        for name, fault in (("delay", rule.fault.delay), ("abort", rule.fault.abort)) if rule.fault else ():
            if fault and fault.share() == 0:
                what = f"the {name} happens to 0 percent of the requests"
                yield _no_effect((*path, name), what, hint="set 'percentage: {value: 100}'")


def origins_are_expressions(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Origins that are expressions are RE2."""
    for index, rule in enumerate(resource.spec.http):
        for number, origin in enumerate(rule.cors_policy.allow_origins if rule.cors_policy else ()):
            if origin.regex is not None and (problem := regex_problem(origin.regex)):
                path: Path = ("spec", "http", index, "corsPolicy", "allowOrigins", number, "regex")
                yield Finding(code="CLV4211", path=path, what=problem)


def bodies_fit(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Envoy answers with at most a mebibyte of its own."""
    for index, rule in enumerate(resource.spec.http):
        body = rule.direct_response.body if rule.direct_response else None
        if body and len(body.content()) > _MAX_BODY_BYTES:
            path: Path = ("spec", "http", index, "directResponse", "body")
            what = f"the body has {len(body.content())} bytes, at most {_MAX_BODY_BYTES} are allowed"
            yield Finding(code="CLV4216", path=path, what=what)


def _no_effect(path: Path, what: str, hint: str = "") -> Finding:
    return Finding(code="CLV4220", path=path, what=what, hint=hint, severity="warning")


RULES = (
    delegate_rules.rules_are_few_enough,
    *map(
        delegate_rules.where_few,
        (
            hosts_exist,
            gateways_exist,
            hosts_have_one_virtual_service,
            rules_do_one_thing,
            matches_make_sense,
            expressions_fit,
            rules_are_reached,
            destinations_exist,
            weights_add_up,
            rewrites_are_expressions,
            headers_may_change,
            retries_have_known_conditions,
            faults_happen,
            origins_are_expressions,
            bodies_fit,
            *connection_rules.RULES,
            asked_names.connections_say_a_name,
            *delegate_rules.RULES,
        ),
    ),
)

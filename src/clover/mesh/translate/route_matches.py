"""What a route of the Gateway API matches, and which of two matches comes first: the specification's precedence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clover.mesh import ir
from clover.mesh.istio.attachments import Route, Rule
from clover.mesh.istio.headers import HOST_HEADERS
from clover.mesh.istio.kinds.gateway_api import ValueMatch
from clover.mesh.istio.kinds.grpc_route import GRPCMethodMatch, GRPCRouteMatch, GRPCRouteRule
from clover.mesh.istio.kinds.http_route import HTTPRouteMatch, HTTPRouteRule, PathMatch
from clover.mesh.istio.resources import HTTPRoute

_PATHS = {"Exact": 0, "PathPrefix": 1, "RegularExpression": 2}
"""Where expressions stand is left to implementations; as on Istio they come last."""
_SEGMENT = "[^/]+"
_IS_GRPC = ir.NamedMatch(name="content-type", match=ir.StringMatch(kind=ir.MatchKind.PREFIX, value="application/grpc"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One match of one rule."""

    rank: tuple[int, ...]
    """The smaller, the earlier it is asked."""
    match: ir.RequestMatch
    rule: Rule
    name: str
    """Low in cardinality: that of the rule."""
    prefix: str = ""
    """The path prefix that it matches, without a `/` at the end."""


def cases_of(route: Route) -> Iterator[Case]:
    """Yield every match of a route, in the order written."""
    if isinstance(route, HTTPRoute):
        for index, http in enumerate(route.spec.rules):
            for match in http.matches or (HTTPRouteMatch(),):
                yield _http(match, http, _name(route, index, http))
    else:
        for index, grpc in enumerate(route.spec.rules):
            for call in grpc.matches or (GRPCRouteMatch(),):
                yield _grpc(call, grpc, _name(route, index, grpc))


def _name(route: Route, index: int, rule: Rule) -> str:
    return f"{route.metadata.name}.{rule.name or index}"


def _http(match: HTTPRouteMatch, rule: HTTPRouteRule, name: str) -> Case:
    method = ir.NamedMatch(name=":method", match=_equal(match.method)) if match.method else None
    headers, query = _named(match.headers), _named(match.query_params, ignore_case=False)
    path = match.path.value.rstrip("/") if match.path.type == "PathPrefix" else match.path.value
    return Case(
        rank=(_PATHS[match.path.type], -len(path), method is None, -len(headers), -len(query)),
        match=ir.RequestMatch(path=_path(match.path), headers=(*((method,) if method else ()), *headers), query=query),
        rule=rule,
        name=name,
        prefix=path if match.path.type == "PathPrefix" else "",
    )


def _grpc(match: GRPCRouteMatch, rule: GRPCRouteRule, name: str) -> Case:
    method, headers = match.method, _named(match.headers)
    return Case(
        rank=(*_call_rank(method), -len(headers)),
        match=ir.RequestMatch(path=_call(method) if method else None, headers=(_IS_GRPC, *headers)),
        rule=rule,
        name=name,
    )


def _call_rank(method: GRPCMethodMatch | None) -> tuple[int, int, int]:
    if method is None:
        return (0, 0, 0)
    return (_PATHS[method.type], -len(method.service), -len(method.method))


def _path(path: PathMatch) -> ir.StringMatch | None:
    match path.type:
        case "Exact":
            return _equal(path.value)
        case "RegularExpression":
            return ir.StringMatch(kind=ir.MatchKind.REGEX, value=path.value)
        case "PathPrefix":
            segments = path.value.rstrip("/")
            return ir.StringMatch(kind=ir.MatchKind.PATH_PREFIX, value=segments) if segments else None


def _call(method: GRPCMethodMatch) -> ir.StringMatch:
    """Return the test of a path `/service/method`."""
    if method.type == "Exact" and method.method and method.service:
        return _equal(f"/{method.service}/{method.method}")
    if method.type == "Exact" and method.service:
        return ir.StringMatch(kind=ir.MatchKind.PREFIX, value=f"/{method.service}/")
    service, name = (
        _SEGMENT if not text else f"(?:{text})" if method.type == "RegularExpression" else re.escape(text)
        for text in (method.service, method.method)
    )
    return ir.StringMatch(kind=ir.MatchKind.REGEX, value=f"/{service}/{name}")


def _named(tests: Iterable[ValueMatch], *, ignore_case: bool = True) -> tuple[ir.NamedMatch, ...]:
    """Return tests of headers or query parameters; of several with one name, the first counts."""
    found: dict[str, ir.NamedMatch] = {}
    for test in tests:
        name = test.name.lower() if ignore_case else test.name
        if ignore_case and name in HOST_HEADERS:
            name = ":authority"
        kind = ir.MatchKind.EXACT if test.type == "Exact" else ir.MatchKind.REGEX
        found.setdefault(name, ir.NamedMatch(name=name, match=ir.StringMatch(kind=kind, value=test.value)))
    return tuple(found.values())


def _equal(value: str) -> ir.StringMatch:
    return ir.StringMatch(kind=ir.MatchKind.EXACT, value=value)

"""What a match of a VirtualService's rule must satisfy, and which rules can never be reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clover.mesh.istio.claims import asks_for_claim
from clover.mesh.istio.expressions import program_size, regex_problem
from clover.mesh.istio.finding import Finding, Path, nearest
from clover.mesh.istio.headers import MATCHABLE_PSEUDO_HEADERS, is_header_name
from clover.mesh.istio.kinds.virtual_service import HTTPMatchRequest, HTTPRoute, OptionalMatch
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import MESH, gateway_names, labels_of
from clover.mesh.istio.resources import VirtualService
from clover.mesh.istio.shadows import Earlier

_OWN_FIELDS = frozenset({"uri", "scheme", "method", "authority"})
_MAX_PARAMETER_BYTES = 1024
_MAX_PROGRAMS = 1 << 20
"""Instructions of all expressions: some 16 MB in each proxy."""


def matches_make_sense(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A match tests what requests have, with expressions that Envoy takes."""
    for index, rule in enumerate(resource.spec.http):
        for number, match in enumerate(rule.match):
            path: Path = ("spec", "http", index, "match", number)
            yield from _tests(match, path)
            yield from _source(match, path, resource, mesh)
            if not match.model_fields_set - {"name"}:
                yield Finding(
                    code="CLV4214",
                    path=path,
                    what="the match has no condition and takes every request",
                    hint="leave 'match' out when that is meant",
                    severity="warning",
                )


def expressions_fit(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """All expressions of a VirtualService together are of a size that a proxy can keep in memory."""
    total = sum(program_size(text) for rule in resource.spec.http for match in rule.match for text in _regexes(match))
    if total > _MAX_PROGRAMS:
        what = f"its expressions compile to {total} instructions, at most {_MAX_PROGRAMS} are allowed"
        yield Finding(code="CLV4336", path=("spec", "http"), what=what)


def _regexes(match: HTTPMatchRequest) -> Iterator[str]:
    tests = (match.uri, match.scheme, match.method, match.authority)
    named = (match.headers, match.without_headers, match.query_params)
    for test in (*tests, *(test for group in named for test in group.values())):
        if test and test.regex not in (None, "*"):
            yield test.regex or ""


def rules_are_reached(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """A rule behind one that takes all of its requests never sees one."""
    earlier = Earlier()
    for index, rule in enumerate(resource.spec.http):
        matches = rule.match or (HTTPMatchRequest(),)
        shadows = [earlier.shadow_of(match) for match in matches]
        if all(shadow is not None for shadow in shadows):
            by = ", ".join(dict.fromkeys(_named(resource.spec.http, shadow or 0) for shadow in shadows))
            yield Finding(
                code="CLV4214",
                path=("spec", "http", index),
                what=f"the rule is never reached: {by} before it takes every request that it matches",
                hint="rules are tried in the order written; put the narrower one first",
                severity="warning",
                istio="IST0130",
            )
        for match, shadow in zip(matches, shadows, strict=True):
            if shadow is None:
                earlier.add(index, match)


def _tests(match: HTTPMatchRequest, path: Path) -> Iterator[Finding]:
    if match.uri:
        yield from _expression(match.uri, (*path, "uri"))
    for name, test in (("scheme", match.scheme), ("method", match.method), ("authority", match.authority)):
        if test:
            yield from _expression(test, (*path, name), presence=True)
    for field, tests in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name, header in tests.items():
            yield from _header(name, (*path, field, name))
            yield from _expression(header, (*path, field, name), presence=True)
    for name, parameter in match.query_params.items():
        here = (*path, "queryParams", name)
        if not 0 < len(name.encode("utf-8", "replace")) <= _MAX_PARAMETER_BYTES:
            what = f"the parameter's name is empty or longer than {_MAX_PARAMETER_BYTES} bytes"
            yield Finding(code="CLV4212", path=here, what=what)
        yield from _expression(parameter, here, presence=True)


def _header(name: str, path: Path) -> Iterator[Finding]:
    if asks_for_claim(name):
        return
    if not is_header_name(name) and name not in MATCHABLE_PSEUDO_HEADERS:
        yield Finding(code="CLV4212", path=path, what=f"{name[:80]!r} is not a header name")
    elif name in _OWN_FIELDS:
        yield Finding(
            code="CLV4220",
            path=path,
            what=f"{name!r} is matched as a header, which requests do not have",
            hint=f"use the field {name!r} of the match itself",
            severity="warning",
        )


def _expression(test: OptionalMatch, path: Path, *, presence: bool = False) -> Iterator[Finding]:
    """An expression is RE2; `*` alone, which is none, asks Istio whether a header is there at all."""
    if test.regex is None or (presence and test.regex == "*"):
        return
    if problem := regex_problem(test.regex):
        yield Finding(code="CLV4211", path=(*path, "regex"), what=problem)


def _source(match: HTTPMatchRequest, path: Path, resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    bound = mesh.bound(resource)
    for index, name in enumerate(gateway_names(match.gateways, resource.metadata.namespace)):
        if name not in bound:
            what = f"the VirtualService is not bound to {match.gateways[index]!r}"
            hint = nearest(name, bound) or "name it in 'spec.gateways' too"
            yield Finding(code="CLV4208", path=(*path, "gateways", index), what=what, hint=hint)
    ports = mesh.listener_ports(resource)
    if match.port is not None and match.port not in ports:
        what = f"nothing that the VirtualService is bound to takes traffic on port {match.port}"
        yield _without_effect((*path, "port"), what)
    if match.source_labels and not match.gateways and mesh.registry.tells_workloads:
        yield from _source_labels(match, path, mesh, in_mesh=MESH in bound)
    if match.source_namespace and not match.gateways and match.source_namespace not in mesh.namespaces():
        what = f"there is no workload in the namespace {match.source_namespace!r}"
        yield _without_effect((*path, "sourceNamespace"), what)


def _source_labels(match: HTTPMatchRequest, path: Path, mesh: Mesh, *, in_mesh: bool) -> Iterator[Finding]:
    for workload in mesh.registry.workloads:
        if workload.gateway != in_mesh and match.source_labels.items() <= labels_of(workload).items():
            return
    yield replace(_without_effect((*path, "sourceLabels"), "no workload has these labels"), istio="IST0127")


def _without_effect(path: Path, what: str) -> Finding:
    return Finding(code="CLV4214", path=path, what=f"{what}; the match never holds", severity="warning")


def _named(rules: tuple[HTTPRoute, ...], index: int) -> str:
    return repr(rules[index].name) if rules[index].name else f"rule {index}"

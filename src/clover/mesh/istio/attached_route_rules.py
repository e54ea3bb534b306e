"""What the rules of HTTPRoutes and GRPCRoutes must satisfy: each question's docstring is the answer that is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from clover.mesh.istio import attachments, hosts
from clover.mesh.istio.attachments import Route, Rule
from clover.mesh.istio.destination_checks import untold_service
from clover.mesh.istio.expressions import regex_problem
from clover.mesh.istio.finding import Finding, Path, cut, nearest
from clover.mesh.istio.headers import HOST_HEADERS
from clover.mesh.istio.kinds.gateway_api import HeaderModifier, ObjectReference, ValueMatch
from clover.mesh.istio.kinds.grpc_route import GRPCMethodMatch, GRPCRouteMatch
from clover.mesh.istio.kinds.http_route import HTTPRouteMatch, HTTPRouteRule, PathModifier
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.resources import GRPCRoute, HTTPRoute

_GRPC_NAMES = ("grpc", "http2")


def matches_are_expressions(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """Expressions are RE2."""
    for index, rule in enumerate(attachments.rules_of(resource)):
        for number, match in enumerate(attachments.matches_of(rule)):
            yield from _expressions(match, ("spec", "rules", index, "matches", number))


def filters_fit_together(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """A rule changes each thing once, and a redirect leaves nothing to send on."""
    for index, rule in enumerate(attachments.rules_of(resource)):
        path: Path = ("spec", "rules", index)
        yield from _once([step.type for step in attachments.steps_of(rule)], (*path, "filters"))
        for number, reference in enumerate(rule.backend_refs):
            here = (*path, "backendRefs", number, "filters")
            yield from _once([step.type for step in reference.filters], here)
        types = {step.type for step in attachments.steps_of(rule)}
        if "RequestRedirect" in types and "URLRewrite" in types:
            what = "'RequestRedirect' and 'URLRewrite' exclude each other"
            yield Finding(code="CLV4359", path=(*path, "filters"), what=what)
        if "RequestRedirect" in types and rule.backend_refs:
            what = "'RequestRedirect' answers every request, so that nothing is left for 'backendRefs'"
            yield Finding(code="CLV4359", path=(*path, "backendRefs"), what=what)


def replaced_prefixes_are_matched(resource: HTTPRoute, mesh: Mesh) -> Iterator[Finding]:
    """A prefix can be replaced where one is matched."""
    for index, rule in enumerate(resource.spec.rules):
        known = len(rule.matches) <= 1 and all(match.path.type == "PathPrefix" for match in rule.matches)
        for number, change in _path_changes(rule):
            if change.type == "ReplacePrefixMatch" and not known:
                yield Finding(
                    code="CLV4360",
                    path=("spec", "rules", index, "filters", number),
                    what="'ReplacePrefixMatch' needs a rule with exactly one match, which is a 'PathPrefix'",
                    hint="give each prefix a rule of its own",
                )


def backends_are_there(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """Whatever a rule sends to, or copies to, is a service that the route may refer to."""
    answer = "500" if isinstance(resource, HTTPRoute) else "UNAVAILABLE"
    for index, rule in enumerate(attachments.rules_of(resource)):
        path: Path = ("spec", "rules", index)
        for number, reference in enumerate(rule.backend_refs):
            lost = f"its share of the requests is answered with {answer}"
            yield from _backend(reference, (*path, "backendRefs", number), lost, resource, mesh)
        for number, step in enumerate(attachments.steps_of(rule)):
            if step.request_mirror:
                here = (*path, "filters", number, "requestMirror")
                yield from _backend(step.request_mirror.backend_ref, (*here, "backendRef"), "no copies", resource, mesh)
                if step.request_mirror.share() == 0:
                    yield _no_effect(here, "0 percent of the requests are copied")
        if not any(step.type == "RequestRedirect" for step in attachments.steps_of(rule)):
            yield from _somewhere(rule, path, answer)


def headers_may_change(resource: Route, mesh: Mesh) -> Iterator[Finding]:
    """The host is rewritten by a filter of its own."""
    for index, rule in enumerate(attachments.rules_of(resource)):
        path: Path = ("spec", "rules", index)
        for number, step in enumerate(attachments.steps_of(rule)):
            yield from _modifiers(step.request_header_modifier, (*path, "filters", number, "requestHeaderModifier"))
            yield from _modifiers(step.response_header_modifier, (*path, "filters", number, "responseHeaderModifier"))
        for number, reference in enumerate(rule.backend_refs):
            for place, own in enumerate(reference.filters):
                here = (*path, "backendRefs", number, "filters", place)
                yield from _modifiers(own.request_header_modifier, (*here, "requestHeaderModifier"))
                yield from _modifiers(own.response_header_modifier, (*here, "responseHeaderModifier"))


def grpc_reaches_its_backends(resource: GRPCRoute, mesh: Mesh) -> Iterator[Finding]:
    """A gateway speaks HTTP/2 to ports that are named for it."""
    if not any(map(attachments.means_gateway, resource.spec.parent_refs)):
        return
    for index, rule in enumerate(resource.spec.rules):
        for number, reference in enumerate(rule.backend_refs):
            service = attachments.backend(reference, resource, mesh.registry, mesh.policies)
            for port in service.ports if service else ():
                if port.number == reference.port and port.name.partition("-")[0] not in _GRPC_NAMES:
                    yield Finding(
                        code="CLV4362",
                        path=("spec", "rules", index, "backendRefs", number, "port"),
                        what=f"port {port.number} is named {port.name!r}, so that the gateway speaks HTTP/1.1 to it",
                        hint="name the service's port 'grpc' or 'grpc-...'",
                        severity="warning",
                    )


def _expressions(match: HTTPRouteMatch | GRPCRouteMatch, path: Path) -> Iterator[Finding]:
    if isinstance(match, HTTPRouteMatch):
        if match.path.type == "RegularExpression" and (problem := regex_problem(match.path.value)):
            yield Finding(code="CLV4211", path=(*path, "path", "value"), what=problem)
        yield from _values(match.query_params, (*path, "queryParams"))
    elif match.method and match.method.type == "RegularExpression":
        yield from _call(match.method, (*path, "method"))
    yield from _values(match.headers, (*path, "headers"))


def _values(tests: tuple[ValueMatch, ...], path: Path) -> Iterator[Finding]:
    for index, test in enumerate(tests):
        if test.type == "RegularExpression" and (problem := regex_problem(test.value)):
            yield Finding(code="CLV4211", path=(*path, index, "value"), what=problem)


def _call(method: GRPCMethodMatch, path: Path) -> Iterator[Finding]:
    found = False
    for name, text in (("service", method.service), ("method", method.method)):
        if problem := regex_problem(text):
            found = True
            yield Finding(code="CLV4211", path=(*path, name), what=problem)
    if not found and (problem := regex_problem(f"/(?:{method.service})/(?:{method.method})")):
        yield Finding(code="CLV4211", path=path, what=problem)


def _once(types: list[str], path: Path) -> Iterator[Finding]:
    for name, count in Counter(types).items():
        if count > 1 and name != "RequestMirror":
            yield Finding(code="CLV4359", path=path, what=f"there are {count} filters of the type {name!r}")


def _path_changes(rule: HTTPRouteRule) -> Iterator[tuple[int, PathModifier]]:
    for number, step in enumerate(rule.filters):
        for changing in (step.request_redirect, step.url_rewrite):
            if changing and changing.path:
                yield number, changing.path


def _backend(reference: ObjectReference, path: Path, lost: str, resource: Route, mesh: Mesh) -> Iterator[Finding]:
    namespace = reference.namespace or resource.metadata.namespace
    if (reference.group, reference.kind) != ("", "Service"):
        what = f"a backend of the kind {cut(reference.kind)!r} is not supported by Clover, expected 'Service'"
        yield Finding(code="CLV4103", path=(*path, "kind"), what=what)
        return
    if not attachments.is_granted(reference, resource, mesh.policies):
        yield Finding(
            code="CLV4358",
            path=(*path, "namespace"),
            what=f"{resource.kind}s of the namespace {resource.metadata.namespace!r} may not refer to Services of "
            f"{namespace!r}",
            hint=f"write a ReferenceGrant in {namespace!r}: from {resource.kind}s of {resource.metadata.namespace!r} "
            "to Service",
        )
        return
    service = attachments.service_named(reference.name, namespace, mesh.registry)
    if service is None and not mesh.tells_services_of(f"{reference.name}.{namespace}.{hosts.DOMAIN}"):
        yield untold_service(reference.name, namespace, (*path, "name"), seen_from=resource.metadata.namespace)
    elif service is None:
        known = [known.name for known in mesh.registry.services if known.namespace == namespace]
        what = f"there is no service '{namespace}/{reference.name}' in the mesh; {lost}"
        yield _missing((*path, "name"), what, nearest(reference.name, known))
    elif reference.port not in {port.number for port in service.ports}:
        shown = ", ".join(str(port.number) for port in service.ports) or "none"
        what = f"{service.name!r} has no port {reference.port}; {lost}"
        yield _missing((*path, "port"), what, f"it has {shown}")


def _somewhere(rule: Rule, path: Path, answer: str) -> Iterator[Finding]:
    if not rule.backend_refs:
        yield _missing(path, f"the rule has no 'backendRefs', so that its requests are answered with {answer}", "")
    elif all(reference.weight == 0 for reference in rule.backend_refs):
        what = f"all weights are 0, so that the rule's requests are answered with {answer}"
        yield _missing((*path, "backendRefs"), what, "")


def _modifiers(modifier: HeaderModifier | None, path: Path) -> Iterator[Finding]:
    if modifier is None:
        return
    for field, names in (
        ("set", [header.name for header in modifier.set]),
        ("add", [header.name for header in modifier.add]),
        ("remove", list(modifier.remove)),
    ):
        for index, name in enumerate(names):
            if name.lower() in HOST_HEADERS:
                what = f"the header {name!r} cannot be changed here"
                hint = "use the filter 'URLRewrite' with 'hostname'"
                yield Finding(code="CLV4212", path=(*path, field, index), what=what, hint=hint)


def _missing(path: Path, what: str, hint: str) -> Finding:
    return Finding(code="CLV4357", path=path, what=what, hint=hint, severity="warning")


def _no_effect(path: Path, what: str, hint: str = "") -> Finding:
    return Finding(code="CLV4361", path=path, what=what, hint=hint, severity="warning")


_COMMON = (matches_are_expressions, filters_fit_together, backends_are_there, headers_may_change)
HTTP_RULES = (*_COMMON, replaced_prefixes_are_matched)
GRPC_RULES = (*_COMMON, grpc_reaches_its_backends)

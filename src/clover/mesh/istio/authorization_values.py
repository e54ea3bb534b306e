"""Single values of an AuthorizationPolicy: can a request have them, is there anybody whom they name?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property

from clover.mesh.istio.finding import Finding, Path, nearest
from clover.mesh.istio.headers import MATCHABLE_PSEUDO_HEADERS, is_header_name
from clover.mesh.istio.kinds.authorization_policy import Operation, Rule, Source, is_template
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.registry import Workload
from clover.mesh.istio.resources import AuthorizationPolicy

_SPIFFE = "spiffe://"
_LOCAL = "cluster.local"
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_HTTP_OPERATION = ("hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths")
_TOKEN_SOURCE = ("request_principals", "not_request_principals")
_IDENTITY_SOURCE = (
    "principals",
    "not_principals",
    "namespaces",
    "not_namespaces",
    "service_accounts",
    "not_service_accounts",
    "trust_domains",
    "not_trust_domains",
)
_NAMESPACES = ("namespaces", "not_namespaces")
_IDENTITY_KEYS = frozenset({"source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain"})
_PAIRS = {name: f"not_{name}" for part in (Source, Operation) for name in part.model_fields if name[:4] != "not_"}


def findings(policy: AuthorizationPolicy, workloads: tuple[Workload, ...], mesh: Mesh) -> Iterator[Finding]:
    """Yield what no request to the workloads can have, and whom nobody is."""
    known = _Somebody(policy, mesh)
    for index, rule in enumerate(policy.spec.rules):
        path: Path = ("spec", "rules", index)
        for here, name, values in _named(rule, path):
            check = _CHECKS.get(name, _anything)
            for place, value in enumerate(values):
                if why := check(value, known):
                    yield replace(_told((*here, place), *why), istio="IST0101" if name in _NAMESPACES else "")
        yield from _excluded(rule, path)
        yield from _headers(rule, path)
        yield from _ports_served(rule, path, workloads, mesh)


def http_fields(rule: Rule) -> list[str]:
    """Return what a rule asks that only HTTP has."""
    found = [
        *(_alias(Operation, name) for to in rule.to for name in _HTTP_OPERATION if getattr(to.operation, name)),
        *(_alias(Source, name) for one in rule.from_ for name in _TOKEN_SOURCE if getattr(one.source, name)),
        *(condition.key for condition in rule.when if condition.key.startswith("request.")),
    ]
    return [repr(name) for name in dict.fromkeys(found)]


def token_fields(policy: AuthorizationPolicy) -> Iterator[Path]:
    """Yield where a policy asks about tokens."""
    return _asking(policy, _TOKEN_SOURCE, lambda key: key.startswith("request.auth."))


def identity_fields(policy: AuthorizationPolicy) -> Iterator[Path]:
    """Yield where a policy asks who calls."""
    return _asking(policy, _IDENTITY_SOURCE, _IDENTITY_KEYS.__contains__)


def _asking(policy: AuthorizationPolicy, fields: Iterable[str], asks: Callable[[str], bool]) -> Iterator[Path]:
    for index, rule in enumerate(policy.spec.rules):
        for number, one in enumerate(rule.from_):
            for name in fields:
                if getattr(one.source, name):
                    yield ("spec", "rules", index, "from", number, "source", _alias(Source, name))
        for number, condition in enumerate(rule.when):
            if asks(condition.key):
                yield ("spec", "rules", index, "when", number)


def _alias(part: type[Source] | type[Operation], name: str) -> str:
    return part.model_fields[name].alias or name


# ---- single values


class _Somebody:
    """Who there is: looked up once for all values of a policy, and only if one asks."""

    def __init__(self, policy: AuthorizationPolicy, mesh: Mesh) -> None:
        self._mesh = mesh
        self.namespace = policy.metadata.namespace
        """Of whom a policy speaks when it says no namespace."""
        self.domains = (mesh.registry.config.trust_domain, *mesh.registry.config.trust_domain_aliases)
        self.is_known = mesh.registry.complete and bool(mesh.registry.workloads)

    @cached_property
    def principals(self) -> list[str]:
        """Everybody's principal, as policies write it."""
        registry = self._mesh.registry
        return sorted({registry.principal(workload).removeprefix(_SPIFFE) for workload in registry.workloads})

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Where workloads run, or which there are; empty: nobody knows."""
        return self._mesh.namespaces() if self.is_known else self._mesh.registry.declared

    @cached_property
    def accounts(self) -> set[str]:
        """Service accounts as `namespace/name`."""
        parts = (name.split("/") for name in self.principals)
        return {f"{namespace}/{account}" for _, _, namespace, _, account in parts}


_Why = tuple[str, str, str] | None
"""Code, what is wrong and a hint; None: the value can be had."""
_NEVER, _NOBODY = "CLV4254", "CLV4255"


def _principal(value: str, known: _Somebody) -> _Why:
    if value.startswith(_SPIFFE):
        return _NEVER, f"{value[:80]!r} begins with 'spiffe://', as no principal does", _write(value[len(_SPIFFE) :])
    if _has_inner_star(value):
        return _inner_star(value, known)
    domain, slash, rest = value.partition("/")
    ours = domain in (*known.domains, _LOCAL)
    wanted = f"{known.domains[0]}/{rest}" if slash and ours else value
    if not known.is_known or any(fnmatchcase(name, _literal(wanted)) for name in known.principals):
        return None
    if slash and "*" not in domain and not ours:
        return None  # Somebody of another mesh, whom nobody here knows.
    hint = nearest(value, known.principals) or f"{known.principals[0]!r} is somebody"
    return _NOBODY, f"nobody in the mesh is {value[:80]!r}", hint


def _namespace(value: str, known: _Somebody) -> _Why:
    if not known.namespaces or any(fnmatchcase(name, _literal(value)) for name in known.namespaces):
        return None
    hint = nearest(value, known.namespaces) or f"there are {', '.join(known.namespaces)}"
    where = "nothing runs in a namespace" if known.is_known else "there is no namespace"
    return _NOBODY, f"{where} {value[:80]!r}", hint


def _account(value: str, known: _Somebody) -> _Why:
    where, _, name = value.rpartition("/")
    wanted = f"{where or known.namespace}/{name}"
    if not known.is_known or wanted in known.accounts:
        return None
    return _NOBODY, f"no workload has the service account {wanted[:80]!r}", nearest(wanted, sorted(known.accounts))


def _path(value: str, known: _Somebody) -> _Why:
    if not value.startswith(("/", "*")):
        return _NEVER, f"{value[:80]!r} does not begin with '/', as every path does", _write(f"/{value}")
    if "?" in value:
        return _NEVER, f"{value[:80]!r} has a query, and paths are compared without theirs", ""
    return None if is_template(value) else _inner_star(value, known)


def _method(value: str, known: _Somebody) -> _Why:
    if value not in _METHODS and value.upper() in _METHODS:
        return _NEVER, f"{value[:80]!r} is not in capital letters, as methods are", _write(value.upper())
    return _inner_star(value, known)


def _host(value: str, known: _Somebody) -> _Why:
    if "/" in value:
        return _NEVER, f"{value[:80]!r} is no host", "a host has no scheme and no path"
    return _inner_star(value, known)


def _inner_star(value: str, known: _Somebody) -> _Why:
    if _has_inner_star(value):
        return _NEVER, f"{value[:80]!r} has a '*' that is not at its one end, and stands for itself there", ""
    return None


def _anything(value: str, known: _Somebody) -> _Why:
    return None


def _told(path: Path, code: str, what: str, hint: str = "") -> Finding:
    return Finding(code=code, path=path, what=what, hint=hint, severity="warning")


def _has_inner_star(value: str) -> bool:
    rest = value[1:] if value.startswith("*") else value.removesuffix("*")
    return "*" in rest


def _write(value: str) -> str:
    return f"write {value[:80]!r}"


def _literal(pattern: str) -> str:
    """Return a pattern for `fnmatch` in which only `*` stands for anything else."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


_CHECKS: Mapping[str, Callable[[str, _Somebody], _Why]] = {
    "principals": _principal,
    "not_principals": _principal,
    "source.principal": _principal,
    "namespaces": _namespace,
    "not_namespaces": _namespace,
    "source.namespace": _namespace,
    "service_accounts": _account,
    "not_service_accounts": _account,
    "source.serviceAccount": _account,
    "paths": _path,
    "not_paths": _path,
    "methods": _method,
    "not_methods": _method,
    "hosts": _host,
    "not_hosts": _host,
}


def _named(rule: Rule, path: Path) -> Iterator[tuple[Path, str, tuple[str, ...]]]:
    """Yield each list of values of a rule: where it is written, what it is a list of, and the list."""
    for number, one in enumerate(rule.from_):
        for name in Source.model_fields:
            yield (*path, "from", number, "source", _alias(Source, name)), name, getattr(one.source, name)
    for number, to in enumerate(rule.to):
        for name in Operation.model_fields:
            yield (*path, "to", number, "operation", _alias(Operation, name)), name, getattr(to.operation, name)
    for number, condition in enumerate(rule.when):
        yield (*path, "when", number, "values"), condition.key, condition.values
        yield (*path, "when", number, "notValues"), condition.key, condition.not_values


# ---- values together


def _excluded(rule: Rule, path: Path) -> Iterator[Finding]:
    """Yield lists of which every value is excluded again."""
    pairs = [
        *(
            ((*path, "from", number, "source", _alias(Source, name)), getattr(one.source, name), _not(one.source, name))
            for number, one in enumerate(rule.from_)
            for name in Source.model_fields
            if name in _PAIRS
        ),
        *(
            (
                (*path, "to", number, "operation", _alias(Operation, name)),
                getattr(to.operation, name),
                _not(to.operation, name),
            )
            for number, to in enumerate(rule.to)
            for name in Operation.model_fields
            if name in _PAIRS
        ),
        *(
            ((*path, "when", number), condition.values, condition.not_values)
            for number, condition in enumerate(rule.when)
        ),
    ]
    for here, values, excluded in pairs:
        if values and all(value in excluded or "*" in excluded for value in values):
            yield _told(here, _NEVER, "whatever is taken here is excluded again")
    yield from _conditions_together(rule, path)


def _conditions_together(rule: Rule, path: Path) -> Iterator[Finding]:
    """Yield a condition that leaves no value over which another one takes: all of `when` must hold."""
    seen: dict[str, tuple[int, set[str]]] = {}
    for number, condition in enumerate(rule.when):
        exact = set(condition.values)
        if not exact or any("*" in value or "/" in value for value in exact):
            continue
        if condition.key in seen and not exact & seen[condition.key][1]:
            first = seen[condition.key][0]
            what = f"{condition.key!r} has other values than when[{first}], and both must hold"
            yield _told((*path, "when", number), _NEVER, what, "put the values into one list")
        seen.setdefault(condition.key, (number, exact))


def _not(part: Source | Operation, name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(part, _PAIRS[name])
    return found


def _headers(rule: Rule, path: Path) -> Iterator[Finding]:
    for number, condition in enumerate(rule.when):
        header = condition.header
        if header and not is_header_name(header) and header not in MATCHABLE_PSEUDO_HEADERS:
            what = f"{header[:80]!r} is not the name of a header"
            yield Finding(code="CLV4254", path=(*path, "when", number, "key"), what=what)


def _ports_served(rule: Rule, path: Path, workloads: tuple[Workload, ...], mesh: Mesh) -> Iterator[Finding]:
    """Yield ports of which the chosen workloads serve none; a gateway's ports are its listeners'."""
    asked = [
        ((*here, place), int(value))
        for here, name, values in _named(rule, path)
        if name in ("ports", "destination.port") and here[-1] in ("ports", "values")
        for place, value in enumerate(values)
    ]
    if not asked or not mesh.registry.complete or any(workload.gateway for workload in workloads):
        return
    served = {
        port.target
        for service in mesh.registry.services
        if any(workload.serves(service) for workload in workloads)
        for port in service.ports
    }
    for here, number in asked:
        if served and number not in served:
            shown = ", ".join(map(str, sorted(served)))
            yield _told(here, _NEVER, f"no service leads to port {number} of the chosen workloads; they serve {shown}")

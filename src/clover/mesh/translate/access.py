"""AuthorizationPolicies into who may call a workload."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from clover.mesh import access
from clover.mesh.access import Access, Action, Text, TextKind
from clover.mesh.istio import resources, selection
from clover.mesh.istio.kinds import authorization_policy as istio
from clover.mesh.istio.policies import Policies, labels_of
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.resources import AuthorizationPolicy
from clover.mesh.translate.authorizers import authorizers_of
from clover.mesh.translate.trust import in_every_trust_domain, trust_domains_named
from clover.spec.mesh_config import MeshConfig

_SPIFFE = "spiffe://"
_ANY = Text(kind=TextKind.REGEX, value=".+")


class AccessTable:
    """Who may call whom: what a policy means is found out once, for all workloads that it is for."""

    def __init__(self, registry: Registry, policies: Policies) -> None:
        self._registry = registry
        self._policies = policies
        self._meant: dict[str, access.Policy] = {}

    def of(self, workload: Workload) -> Access:
        """Return every authorization policy that is for a workload."""
        labels = labels_of(workload).items()
        found = tuple(
            self._policy(policy, workload)
            for policy in self._policies.authorization_policies
            if (policy.spec.selector is None or policy.spec.selector.match_labels.items() <= labels)
            and selection.is_for(
                policy,
                workload,
                self._registry,
                self._policies,
                selector=policy.spec.selector,
                targets=policy.spec.targets(),
            )
        )
        asked = {policy.authorizer for policy in found}
        return Access(policies=found, authorizers=authorizers_of(self._registry, asked))

    def _policy(self, policy: AuthorizationPolicy, workload: Workload) -> access.Policy:
        name = resources.key(policy)
        if name not in self._meant:
            self._meant[name] = _policy(policy, self._registry)
        targets = policy.spec.targets()
        if not targets:
            return self._meant[name]
        ports = selection.ports_named(targets, workload, self._registry, namespace=policy.metadata.namespace)
        return replace(self._meant[name], ports=ports)


def _policy(policy: AuthorizationPolicy, registry: Registry) -> access.Policy:
    namespace, name = policy.metadata.namespace, policy.metadata.name
    # A rule that matches nothing stands for no rules: an ALLOW policy without rules allows nothing.
    rules = tuple(
        _rule(rule, f"ns[{namespace}]-policy[{name}]-rule[{index}]", namespace, registry.config)
        for index, rule in enumerate(policy.spec.rules)
    )
    return access.Policy(
        action=Action(policy.spec.action),
        rules=rules or (access.Rule(name=f"ns[{namespace}]-policy[{name}]-rule[0]"),),
        dry_run=policy.dry_run,
        authorizer=policy.spec.provider.name if policy.spec.provider else "",
        gateways=selection.gateways_named(policy.spec.targets(), namespace=namespace),
        source=resources.key(policy),
    )


# ---- rules


def _rule(rule: istio.Rule, name: str, namespace: str, config: MeshConfig) -> access.Rule:
    asked = [_asked(condition, namespace, config) for condition in rule.when]
    operations = tuple(test for one, about_operation in asked if about_operation for test in one)
    sources = tuple(test for one, about_operation in asked if not about_operation for test in one)
    return access.Rule(
        name=name,
        operations=tuple((*_operation(to.operation), *operations) for to in rule.to) or (operations,),
        sources=tuple((*_source(one.source, namespace, config), *sources) for one in rule.from_) or (sources,),
    )


_Made = Callable[[Sequence[str]], access.Test]


def _either(make: _Made, values: Sequence[str], excluded: Sequence[str]) -> Iterator[access.Condition]:
    """Yield that something is one of `values`, and none of `excluded`; an empty list asks nothing."""
    if values:
        yield access.Condition(test=make(values))
    if excluded:
        yield access.Condition(test=make(excluded), negated=True)


def _operation(operation: istio.Operation) -> Iterator[access.Condition]:
    yield from _either(_hosts, operation.hosts, operation.not_hosts)
    yield from _either(_header(":method"), operation.methods, operation.not_methods)
    yield from _either(_paths, operation.paths, operation.not_paths)
    yield from _either(_port, operation.ports, operation.not_ports)


def _source(source: istio.Source, namespace: str, config: MeshConfig) -> Iterator[access.Condition]:
    yield from _either(_principals(config), source.principals, source.not_principals)
    yield from _either(_token, source.request_principals, source.not_request_principals)
    yield from _either(_accounts(namespace), source.service_accounts, source.not_service_accounts)
    yield from _either(_trust_domains(config), source.trust_domains, source.not_trust_domains)
    yield from _either(_namespaces, source.namespaces, source.not_namespaces)
    yield from _either(_address(access.Place.CLIENT), source.remote_ip_blocks, source.not_remote_ip_blocks)
    yield from _either(_address(access.Place.PEER), source.ip_blocks, source.not_ip_blocks)


def _asked(condition: istio.Condition, namespace: str, config: MeshConfig) -> tuple[tuple[access.Condition, ...], bool]:
    """Return what a `when` asks, and whether it asks about what is called rather than about who calls."""
    made: dict[str, _Made] = {
        "source.ip": _address(access.Place.PEER),
        "remote.ip": _address(access.Place.CLIENT),
        "source.namespace": _namespaces,
        "source.serviceAccount": _accounts(namespace),
        "source.trustDomain": _trust_domains(config),
        "source.principal": _principals(config),
        "request.auth.principal": _token,
        "request.auth.audiences": _claim("aud"),
        "request.auth.presenter": _claim("azp"),
        "destination.ip": _address(access.Place.HERE),
        "destination.port": _port,
        "connection.sni": _server_name,
    }
    if condition.header:
        make = _header(condition.header)
    elif condition.claim:
        make = _claim(*condition.claim)
    elif condition.metadata[0]:
        make = _metadata(*condition.metadata)
    else:
        make = made[condition.key]
    about_operation = condition.key.startswith(("destination.", "connection.", "experimental."))
    return tuple(_either(make, condition.values, condition.not_values)), about_operation


# ---- tests


def text_of(value: str, *, ignore_case: bool = False) -> Text:
    """Return how a value with a `*` at one end is compared; `*` alone is whatever is there."""
    if value == "*":
        return Text(kind=TextKind.PRESENT)
    if value.startswith("*"):
        return Text(kind=TextKind.SUFFIX, value=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return Text(kind=TextKind.PREFIX, value=value[:-1], ignore_case=ignore_case)
    return Text(kind=TextKind.EXACT, value=value, ignore_case=ignore_case)


def _quoted(text: str) -> str:
    """Return a regular expression of RE2 for a text itself."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def _regex(pattern: str) -> Text:
    return Text(kind=TextKind.REGEX, value=pattern)


def _texts(values: Iterable[str]) -> tuple[Text, ...]:
    return tuple(map(text_of, values))


def _hosts(values: Sequence[str]) -> access.Test:
    return access.Header(name=":authority", values=tuple(text_of(value, ignore_case=True) for value in values))


def _header(name: str) -> _Made:
    return lambda values: access.Header(name=name, values=_texts(values))


def _paths(values: Sequence[str]) -> access.Test:
    return access.Path(paths=tuple(map(_path, values)))


def _path(value: str) -> Text:
    if not istio.is_template(value):
        return text_of(value)
    return Text(kind=TextKind.TEMPLATE, value=value.replace("{**}", "**").replace("{*}", "*"))


def _port(values: Sequence[str]) -> access.Test:
    return access.Port(ports=tuple(map(int, values)))


def _address(place: access.Place) -> _Made:
    return lambda values: access.Address(
        place=place, networks=tuple(ipaddress.ip_network(value, strict=False) for value in values)
    )


def _server_name(values: Sequence[str]) -> access.Test:
    return access.ServerName(names=_texts(values))


def _metadata(filter_name: str, key: str) -> _Made:
    def make(values: Sequence[str]) -> access.Test:
        found = ((value, value.startswith("[") and value.endswith("]")) for value in values)
        listed = ((text_of(value.strip("[]") if in_list else value), in_list) for value, in_list in found)
        return access.Metadata(filter=filter_name, key=key, values=tuple(listed))

    return make


def _claim(*path: str) -> _Made:
    return lambda values: access.Claim(path=path, values=_texts(values))


def _principals(config: MeshConfig) -> _Made:
    return lambda values: access.Caller(ids=tuple(map(_principal, in_every_trust_domain(values, config))))


def _principal(value: str) -> Text:
    """Return which SPIFFE ids a principal is; policies leave out the scheme."""
    if value.startswith("*") and value != "*":
        return _regex(f"{_SPIFFE}.*{_quoted(value[1:])}")
    text = text_of(value)
    return text if text.kind is TextKind.PRESENT else Text(kind=text.kind, value=_SPIFFE + text.value)


def _namespaces(values: Sequence[str]) -> access.Test:
    patterns = (".*".join(map(_quoted, value.split("*"))) for value in values)
    return access.Caller(ids=tuple(_regex(f".*/ns/{pattern}/.*") for pattern in patterns))


def _accounts(namespace: str) -> _Made:
    """A service account without a namespace is one of the policy's own."""

    def pattern(value: str) -> str:
        where, _, name = value.rpartition("/")
        return f"{_SPIFFE}.+/ns/{_quoted(where or namespace)}/(.+/|)sa/{_quoted(name)}(/.+)?"

    return lambda values: access.Caller(ids=tuple(_regex(pattern(value)) for value in values))


def _trust_domains(config: MeshConfig) -> _Made:
    def text(value: str) -> Text:
        if value == "*":
            return Text(kind=TextKind.PREFIX, value=_SPIFFE)
        if "*" not in value:
            return Text(kind=TextKind.PREFIX, value=f"{_SPIFFE}{value}/")
        return _regex(f"{_SPIFFE}{'[^/]*'.join(map(_quoted, value.split('*', 1)))}/.*")

    return lambda values: access.Caller(ids=tuple(map(text, trust_domains_named(values, config))))


def _token(values: Sequence[str]) -> access.Test:
    return access.Token(principals=tuple(map(_request_principal, values)))


def _request_principal(value: str) -> tuple[Text, Text]:
    """Return issuer and subject of `issuer/subject`; a `*` at an end is about the part in which it stands."""
    issuer, slash, subject = value.rpartition("/") if "/" in value else (value, "", "")
    if value == "*":
        return _ANY, _ANY
    if value.startswith("*"):
        if not slash:
            return _ANY, Text(kind=TextKind.SUFFIX, value=value[1:])
        return _ANY if issuer == "*" else Text(kind=TextKind.SUFFIX, value=issuer[1:]), _exactly(subject)
    if value.endswith("*"):
        if not slash:
            return Text(kind=TextKind.PREFIX, value=value[:-1]), _ANY
        return _exactly(issuer), _ANY if subject == "*" else Text(kind=TextKind.PREFIX, value=subject[:-1])
    return _exactly(issuer), _exactly(subject)


def _exactly(value: str) -> Text:
    return Text(kind=TextKind.EXACT, value=value)

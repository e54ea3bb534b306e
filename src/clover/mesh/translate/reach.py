"""
Routes that lead where their own proxy may not call: everything is in order, and every request is refused.

A rule that depends on the request (its path, headers, address or token) may allow it, so only what no rule can ever
allow is told: the caller's identity and the port are known beforehand. A gateway calls by all of its routes. Every
sidecar has the routes to every service, and those that its function will use are the ones to services whose own
policies let it in; where these let everybody in, nobody knows who calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from clover.errors import Problem
from clover.mesh import ir
from clover.mesh.access import Access, Action, Caller, Condition, Port, Rule, Text, TextKind


def check(proxies: Iterable[ir.Proxy], changed: Mapping[str, str]) -> Iterator[Problem]:
    """
    Yield a warning for each destination that refuses whoever is sent to it.

    Told are those of the resources `changed`, which come with where they are written.
    """
    known = {proxy.node: proxy for proxy in proxies}
    yield from _at_gateways(known, changed)
    yield from _at_sidecars(known, changed)


def _at_gateways(known: Mapping[str, ir.Proxy], changed: Mapping[str, str]) -> Iterator[Problem]:
    told: set[tuple[str, str]] = set()
    for proxy in known.values():
        if not proxy.gateways:
            continue
        members = _members(proxy)
        for sent in _sent(proxy):
            source = next((one for one in sent.sources if one in changed), "")
            if not source:
                continue
            for workload, port in _destinations(sent.to, members):
                target = known.get(workload)
                if target is None or (source, workload) in told or may_call(proxy.principal, port, target.guard.access):
                    continue
                told.add((source, workload))
                yield _refused(sent.what, source, changed[source], (proxy,), target)


def _at_sidecars(known: Mapping[str, ir.Proxy], changed: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what none of the known callers of a service may use."""
    refused: dict[tuple[str, str, str, int], list[ir.Proxy]] = {}
    used: set[tuple[str, str, str, int]] = set()
    chosen: dict[int, tuple[_Sent, ...]] = {}
    for proxy in known.values():
        if proxy.gateways:
            continue
        # Proxies that are told the same have the same tables, which may be large.
        if id(proxy.tables) not in chosen:
            chosen[id(proxy.tables)] = tuple(one for one in _sent(proxy) if not changed.keys().isdisjoint(one.sources))
        members = _members(proxy) if chosen[id(proxy.tables)] else {}
        for sent in chosen[id(proxy.tables)]:
            if not _calls(proxy, members.get(sent.dialled, ()), known):
                continue
            source = next(one for one in sent.sources if one in changed)
            for workload, port in _destinations(sent.to, members):
                if workload not in known:
                    continue
                if may_call(proxy.principal, port, known[workload].guard.access):
                    used.add((source, sent.what, workload, port))
                else:
                    refused.setdefault((source, sent.what, workload, port), []).append(proxy)
    told: set[tuple[str, str, str]] = set()
    for (source, what, workload, port), callers in refused.items():
        if (source, what, workload, port) not in used and (source, what, workload) not in told:
            told.add((source, what, workload))
            yield _refused(what, source, changed[source], callers, known[workload])


def _calls(proxy: ir.Proxy, members: Iterable[ir.Endpoint], known: Mapping[str, ir.Proxy]) -> bool:
    """Tell whether a proxy is known to call a service: its members do not let everybody in, but this one."""
    asked = [(known[member.workload].guard.access, member.port) for member in members if member.workload in known]
    return all(access.at_port(port).of(Action.ALLOW) for access, port in asked) and any(
        may_call(proxy.principal, port, access) for access, port in asked
    )


def may_call(principal: str, port: int, access: Access) -> bool:
    """Tell whether some request of a principal could be allowed at a port."""
    policies = access.at_port(port).of(Action.ALLOW)
    return not policies or any(_may_hold(rule, principal, port) for policy in policies for rule in policy.rules)


def _may_hold(rule: Rule, principal: str, port: int) -> bool:
    return all(
        any(all(_possible(condition, principal, port) for condition in alternative) for alternative in alternatives)
        for alternatives in (rule.operations, rule.sources)
    )


def _possible(condition: Condition, principal: str, port: int) -> bool:
    match condition.test:
        case Caller(ids=ids):
            known = [_fits(text, principal) for text in ids]
            if None in known:
                return True
            return any(known) is not condition.negated
        case Port(ports=ports):
            return (port in ports) is not condition.negated
        case _:
            return True


def _fits(text: Text, value: str) -> bool | None:
    """Tell whether a text is what is asked for; None: only Envoy's own expressions can tell."""
    wanted, value = (text.value.lower(), value.lower()) if text.ignore_case else (text.value, value)
    match text.kind:
        case TextKind.EXACT:
            return value == wanted
        case TextKind.PREFIX:
            return value.startswith(wanted)
        case TextKind.SUFFIX:
            return value.endswith(wanted)
        case TextKind.PRESENT:
            return bool(value)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a route sends on, and where."""

    what: str
    """`requests`, `copies`, or `connections`."""
    to: tuple[str, ...]
    """Clusters."""
    sources: tuple[str, ...]
    dialled: str = ""
    """The cluster of the service that was asked for; '' at a gateway, where clients ask for whatever they like."""


def _sent(proxy: ir.Proxy) -> Iterator[_Sent]:
    for table in proxy.tables:
        for host in table.virtual_hosts:
            name, _, port = host.name.rpartition(":")
            dialled = "" if proxy.gateways else f"outbound|{port}||{name}"
            for route in host.routes:
                if isinstance(route.action, ir.Forward):
                    yield _Sent("requests", _clusters(route.action.to), route.sources, dialled)
                    yield _Sent("copies", tuple(copy.cluster for copy in route.mirrors), route.sources, dialled)
    for opened in proxy.gateways:
        for server in opened.servers:
            for carried in server.tcp:
                yield _Sent("connections", _clusters(carried.to), carried.sources)


def _clusters(shares: Iterable[ir.WeightedCluster]) -> tuple[str, ...]:
    return tuple(share.cluster for share in shares)


_Members = Mapping[str, tuple[ir.Endpoint, ...]]


def _members(proxy: ir.Proxy) -> _Members:
    return {group.cluster: group.members for group in proxy.endpoints}


def _destinations(clusters: Iterable[str], members: _Members) -> Iterator[tuple[str, int]]:
    for cluster in clusters:
        for member in members.get(cluster, ()):
            yield member.workload, member.port


_ENDS = {
    "requests": "every request is answered with 403",
    "copies": "every copy is answered with 403",
    "connections": "every connection is closed",
}


def _refused(what: str, source: str, where: str, callers: Collection[ir.Proxy], target: ir.Proxy) -> Problem:
    functions = ", ".join(dict.fromkeys(repr(caller.identity.function) for caller in callers))
    principals = ", ".join(dict.fromkeys(repr(caller.principal.removeprefix("spiffe://")) for caller in callers))
    sent = "copies of requests" if what == "copies" else what
    policies = ", ".join(
        dict.fromkeys(policy.source for policy in target.guard.access.of(Action.ALLOW) if policy.source)
    )
    return Problem(
        code="CLV4375",
        where=where,
        what=(
            f"{source.replace('/', ' ', 1)} sends {sent} of {functions} to "
            f"{target.identity.function!r}, where {policies} never allows {principals}"
        ),
        hint=f"allow it in an AuthorizationPolicy, or {_ENDS[what]}",
        severity="warning",
    )

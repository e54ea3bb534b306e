"""
Routes that lead where their own proxy may not call: everything is in order, and every request is refused.

A rule that depends on the request (its path, headers, address or token) may allow it, so only what no rule can ever
allow is told: the caller's identity and the port are known beforehand. Gateways alone are looked at: every sidecar has
the routes to every service, and nobody knows which of them its function will use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    told: set[tuple[str, str]] = set()
    for proxy in known.values():
        if not proxy.gateways:
            continue
        members = {group.cluster: group.members for group in proxy.endpoints}
        for sent in _sent(proxy):
            source = next((one for one in sent.sources if one in changed), "")
            if not source:
                continue
            for workload, port in _destinations(sent.to, members):
                target = known.get(workload)
                if target is None or (source, workload) in told or may_call(proxy.principal, port, target.guard.access):
                    continue
                told.add((source, workload))
                yield _refused(sent.what, source, changed[source], proxy, target)


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
    """`requests`, or `connections`."""
    to: tuple[ir.WeightedCluster, ...]
    sources: tuple[str, ...]


def _sent(proxy: ir.Proxy) -> Iterator[_Sent]:
    for table in proxy.tables:
        for host in table.virtual_hosts:
            for route in host.routes:
                if isinstance(route.action, ir.Forward):
                    yield _Sent("requests", route.action.to, route.sources)
    for port in proxy.gateways:
        for server in port.servers:
            for carried in server.tcp:
                yield _Sent("connections", carried.to, carried.sources)


def _destinations(
    shares: Iterable[ir.WeightedCluster], members: Mapping[str, tuple[ir.Endpoint, ...]]
) -> Iterator[tuple[str, int]]:
    for share in shares:
        for member in members.get(share.cluster, ()):
            yield member.workload, member.port


_ENDS = {"requests": "every request is answered with 403", "connections": "every connection is closed"}


def _refused(what: str, source: str, where: str, caller: ir.Proxy, target: ir.Proxy) -> Problem:
    policies = ", ".join(
        dict.fromkeys(policy.source for policy in target.guard.access.of(Action.ALLOW) if policy.source)
    )
    return Problem(
        code="CLV4375",
        where=where,
        what=(
            f"{source.replace('/', ' ', 1)} sends {what} of {caller.identity.function!r} to "
            f"{target.identity.function!r}, where {policies} never allows {caller.principal.removeprefix('spiffe://')!r}"
        ),
        hint=f"allow it in an AuthorizationPolicy, or {_ENDS[what]}",
        severity="warning",
    )

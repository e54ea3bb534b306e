"""What shows only when the matches of all rules of a VirtualService are laid beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clover.mesh.istio.analysis.destinations import given_up
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.kinds.virtual_service import ConnectionMatch, TCPRoute, TLSMatchAttributes, TLSRoute
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.resources import VirtualService
from clover.mesh.istio.shadows import Earlier

_ANY_CONNECTION = ConnectionMatch()


def every_match_has_an_effect(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Of a rule that is reached, each match takes requests that nothing before it takes."""
    earlier = Earlier()
    for index, rule in enumerate(resource.spec.http):
        before = [earlier.shadow_of(match) for match in rule.match]
        reached = None in before
        for number, match in enumerate(rule.match):
            shadow = earlier.shadow_of(match)
            if shadow is None:
                earlier.add(index, match)
            elif reached:
                yield _without_effect(("spec", "http", index, "match", number), shadow, "request")
        if not rule.match:
            return


def _without_effect(path: Path, shadow: int, thing: str) -> Finding:
    where = "another match of the rule" if shadow == path[2] else f"a match of rule {shadow}"
    return Finding(
        code="CLV4114",
        path=path,
        what=f"{where} before it takes every {thing} that it takes",
        hint="leave it out, or put it first",
        severity="warning",
        istio="IST0131",
    )


def every_connection_is_decided_once(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """Of rules for TCP, and of those for TLS, each takes connections that no match before takes."""
    yield from _connections("tcp", resource.spec.tcp)
    yield from _connections("tls", resource.spec.tls)


def _connections(field: str, rules: Sequence[TCPRoute | TLSRoute]) -> Iterator[Finding]:
    earlier: dict[tuple[object, ...], int] = {}
    for index, rule in enumerate(rules):
        shadows = []
        for match in rule.match or (_ANY_CONNECTION,):
            same = (_asked(match), _asked(match.model_copy(update={"port": None})), _asked(_ANY_CONNECTION))
            shadow = next((earlier[one] for one in same if one in earlier), None)
            earlier.setdefault(same[0], index)
            shadows.append(shadow)
        if all(shadow not in (None, index) for shadow in shadows):
            by = ", ".join(f"rule {shadow}" for shadow in dict.fromkeys(shadows))
            yield Finding(
                code="CLV4214",
                path=("spec", field, index),
                what=f"the rule is never reached: {by} before it takes every connection that it matches",
                hint="rules are tried in the order written; put the narrower one first",
                severity="warning",
                istio="IST0130",
            )
            continue
        for number, shadow in enumerate(shadows):
            if shadow is not None:
                yield _without_effect(("spec", field, index, "match", number), shadow, "connection")


def _asked(match: ConnectionMatch) -> tuple[object, ...]:
    """Return what a match asks for; what asks for the same, in whatever order, is equal."""
    return (
        match.port,
        frozenset(match.destination_subnets),
        frozenset(match.source_labels.items()),
        match.source_namespace,
        frozenset(match.gateways),
        frozenset(match.sni_hosts) if isinstance(match, TLSMatchAttributes) else frozenset(),
    )


def words_are_current(resource: VirtualService, mesh: Mesh) -> Iterator[Finding]:
    """What Istio has another word for by now, it may not understand for long."""
    for index, rule in enumerate(resource.spec.http):
        if rule.mirror_percent is not None:
            yield given_up(
                ("spec", "http", index, "mirrorPercent"), "'mirrorPercent'", "'mirrorPercentage: {value: ...}'"
            )
        if rule.fault and rule.fault.delay and rule.fault.delay.percent is not None:
            path: Path = ("spec", "http", index, "fault", "delay", "percent")
            yield given_up(path, "'percent'", "'percentage: {value: ...}'")


RULES = (
    words_are_current,
    every_match_has_an_effect,
    every_connection_is_decided_once,
)

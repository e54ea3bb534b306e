"""What shows only when the matches of all rules of a VirtualService are laid beside each other."""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh.istio.analysis.destinations import given_up
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.resources import VirtualService
from clover.mesh.istio.shadows import Earlier


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
                where = "another match of the rule" if shadow == index else f"a match of rule {shadow}"
                yield Finding(
                    code="CLV4114",
                    path=("spec", "http", index, "match", number),
                    what=f"{where} before it takes every request that it takes",
                    hint="leave it out, or put it first",
                    severity="warning",
                    istio="IST0131",
                )
        if not rule.match:
            return


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
)

"""Whatever dies, and whenever: the old configuration is in force afterwards or the new one, and nothing is left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from harness import ambassadors
from harness.ambassadors import Controlled, Network, Refusal

STRIDE = int(os.environ.get("CLOVER_KILL_STRIDE", "9"))
"""Every so many points of a change the ambassador is killed; the first differs. With 1 none is left out."""


def texts(field: str, *, weights: bool) -> Iterator[str]:
    """Yield configurations of a type that forwards, each different from the last one: in a weight, or in the server."""
    number = 1
    while True:
        number += 1
        host = "web-2" if weights else f"web-{number % 3 + 1}"
        yield f'configuration {{ {field} {{ backends {{ host: "{host}" weight: {number % 200 + 1} }} }} }}'


def host_and_weight(state) -> tuple[str, int]:
    (backend,) = getattr(state.configuration, state.configuration.WhichOneof("type")).backends
    return backend.host, backend.weight


@pytest.mark.parametrize(
    ("type_", "engine", "weights", "first"),
    [
        ("load-balancer", "nginx", False, 1),
        ("load-balancer", "haproxy", False, 4),
        ("load-balancer", "haproxy", True, 7),
        ("firewall", "modsecurity", False, 2),
    ],
    ids=["nginx", "haproxy by reload", "haproxy at run time", "modsecurity"],
)
async def test_an_ambassador_that_is_killed_at_any_point_of_a_change_leaves_the_old_or_the_new(
    network: Network, type_: str, engine: str, weights: bool, first: int
):
    configuration = {"backends": [{"host": "web-2", "weight": 200}]}
    async with ambassadors.controlled(network, type_, engine, configuration) as function:
        function.start_engine()
        points, outcomes = 0, set()
        for number, text in enumerate(texts(type_.replace("-", "_"), weights=weights)):
            function.start_ambassador(killed_at=first + number * STRIDE)
            before = await function.until_ready()
            try:
                await function.call("Apply", text, timeout_s=10)
            except Refusal as refused:
                code = refused.code
            else:
                break  # the change has fewer points than this: it was not killed
            assert code == "UNAVAILABLE"
            function.kill_ambassador()
            points += 1
            function.start_ambassador()
            after = await function.until_ready()

            context = re.findall("killed at.*", function.ambassador_log())[-1]
            host, weight = re.findall(r'host: "(.*)" weight: (\d+)', text)[0]
            allowed = {
                (before.generation, host_and_weight(before)),
                (before.generation + 1, (host, int(weight))),
            }
            assert (after.generation, host_and_weight(after)) in allowed, context
            outcomes.add(after.generation - before.generation)
            assert function.fetch() == (200, host_and_weight(after)[0]), context
            assert function.in_force() == f"{after.generation:06d}", context
            left = function.generations()
            assert not [name for name in left if name.startswith(".")], f"{context}: {left}"
            assert max(name for name in left if name != "current") == function.in_force(), f"{context}: {left}"
            function.kill_ambassador()
        assert points >= 30 / STRIDE, f"only {points} points of a change were tried"
        assert outcomes == {0, 1}, "some are killed before the new configuration is in force, and some after"


async def test_a_change_that_was_cut_short_is_told_of_when_it_turns_out_to_be_in_force(network: Network):
    configuration = {"backends": [{"host": "web-1"}]}
    async with ambassadors.controlled(network, "load-balancer", "nginx", configuration) as function:
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        await function.call("Apply", 'configuration { load_balancer { backends { host: "web-2" } } }')
        function.kill_ambassador()
        # As if it had been killed between the turn of the link and the engine's word.
        (function.directory / "conf/.changing").symlink_to("000001")

        function.start_ambassador()
        await function.until_ready()

        assert "generation 1 → 2 by none" in function.ambassador_log().splitlines()[-1]
        assert function.generations() == ["000001", "000002", "current"]


async def test_a_second_ambassador_of_a_function_does_not_start(balancer: Controlled):
    copy = balancer.network.ambassador(balancer.directory)
    copy.wait()

    assert "[CLV3320]" in balancer.ambassador_log()
    assert (await balancer.state()).generation == 1

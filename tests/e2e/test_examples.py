"""Every folder of examples/ comes up, serves, is traced whole, and goes down."""

from __future__ import annotations

import json

import pytest

from clover.functions import registry
from clover.kit import requirements
from clover.spec import load
from harness import chains
from harness.chains import get
from harness.ports import free_port

EXAMPLES = sorted(path.name for path in chains.EXAMPLES.iterdir() if (path / "chain.yaml").exists())


@pytest.mark.local
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_works(name):
    needed = registry.requirements(load.load(chains.EXAMPLES / name))
    if lacking := list(requirements.missing(needed)):
        pytest.skip("; ".join(f"{problem.what}: {problem.hint}" for problem in lacking))
    with chains.clover() as command:
        up = json.loads(command.ok("up", chains.EXAMPLES / name, "--port", str(free_port()), "--json"))
        answer = get(up["gateway"], "/", {"Host": "shop.example"})
        trace = command.json("trace", answer.trace_id, "--wait", "15")
        command.ok("down")

        assert answer.status == 200
        assert trace["complete"], trace["incompleteBecause"]
        assert {row["state"] for row in up["workloads"]} == {"ready"}
        assert chains.processes_with(str(command.root)) == []

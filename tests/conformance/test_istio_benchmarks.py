"""
Istio's own inputs for its benchmarks: they are sound here too, and the real Envoy takes what becomes of them.

`benchmarks.txt` lists the files that are. One that is in the list and fails is a regression; one that is not and passes
belongs into it.
"""

from pathlib import Path

import pytest

from clover.errors import CloverError, errors_only
from clover.mesh import snapshot, translate
from clover.mesh.istio import parse, validate
from clover.mesh.xds import compile
from harness import benchmark_inputs, envoy

pytestmark = pytest.mark.envoy

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "conformance" / "istio" / "benchmarks"
PASSING = frozenset(
    line
    for line in (Path(__file__).parent / "benchmarks.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
CASES = [path.stem for path in sorted(DATA.glob("*.yaml"))] or [
    pytest.param("", marks=pytest.mark.skip(reason=f"{DATA} is not there"))
]


def wrong(case: str, directory: Path, *, services: int = 5, instances: int = 10) -> list[str]:
    """Return everything that stands between a file and a proxy that obeys it."""
    registry, found = benchmark_inputs.rendered(DATA / f"{case}.yaml", services=services, instances=instances)
    try:
        resources = parse.parse(found)
    except CloverError as error:
        return [str(problem) for problem in error.problems]
    if problems := errors_only(validate.check(registry, resources)):
        return [str(problem) for problem in problems]
    (proxy,) = translate.proxies_from(registry, resources)
    told = snapshot.snapshot_from(proxy, secrets=envoy.secrets_for(compile.resources_from(proxy)))
    return [*map(str, snapshot.check(told)), *filter(None, [envoy.validated(envoy.static(told.resources), directory)])]


@pytest.mark.parametrize("case", CASES)
def test_envoy_takes_what_becomes_of_the_input(case, tmp_path):
    found = wrong(case, tmp_path)

    if case in PASSING:
        assert found == []
    else:
        assert found, f"{case} is sound: add it to benchmarks.txt"


def test_no_file_of_the_list_is_gone():
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    assert set(CASES) >= PASSING

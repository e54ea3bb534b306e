"""How long it takes to make one proxy's configuration, from Istio's own inputs for its benchmarks.

    bench/generation.py [--quick]

The inputs are not part of this repository: without them (`../shared/conformance/istio/benchmarks`) nothing is measured.
Each is rendered for 100 and for 1,000 services, and made a mesh with one proxy, as in Istio's benchmark. *Cold* is
translation, compilation and check with nothing remembered; *warm* is the same again, as after a change elsewhere;
*checks* is what is asked of the resources before. All of it is processor time. Resources and kB are what the proxy is
sent first.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _report

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from clover.errors import errors_only  # noqa: E402
from clover.kit import memory  # noqa: E402
from clover.mesh import snapshot, translate  # noqa: E402
from clover.mesh.istio import parse, validate  # noqa: E402
from clover.mesh.istio.registry import Registry  # noqa: E402
from clover.mesh.istio.resources import Resource  # noqa: E402
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources  # noqa: E402
from harness import benchmark_inputs, envoy  # noqa: E402

DATA = ROOT.parent / "shared" / "conformance" / "istio" / "benchmarks"
CASES = (
    "empty", "http", "tcp", "tls", "auto", "strict", "disabled", "externalname", "virtualservice",
    "authorizationpolicy", "gateways", "gateways-shared", "serviceentry-workloadentry",
)  # fmt: skip
ONLY_FEW = {"empty": 256}
"""Inputs that run out of addresses: Istio renders them for 100 services."""
TYPES = {"listeners": LISTENER, "clusters": CLUSTER, "endpoints": ENDPOINTS, "routes": ROUTES}


def milliseconds(work: Callable[[], object], before: Callable[[], object], rounds: int) -> float:
    """Return the median processor time of some work, each time after `before`."""
    found = []
    for _ in range(rounds):
        before()
        began = time.process_time()
        work()
        found.append((time.process_time() - began) * 1000)
    return statistics.median(found)


def forget() -> None:
    """Forget everything that is remembered."""
    memory.forget_unused()
    memory.forget_unused()


def made(registry: Registry, resources: tuple[Resource, ...]) -> snapshot.Snapshot:
    """Make the proxy's configuration."""
    (proxy,) = translate.proxies_from(registry, resources)
    told = snapshot.snapshot_from(proxy)
    snapshot.check(told)
    return told


def measure(case: str, services: int, rounds: int) -> dict[str, Any]:
    """Return times in ms, and resources and bytes by type."""
    registry, found = benchmark_inputs.rendered(DATA / f"{case}.yaml", services=services, instances=10 * services)
    resources = parse.parse(found)
    if problems := errors_only(validate.check(registry, resources)):
        raise RuntimeError(f"{case}: {problems[0]}")
    told = made(registry, resources)
    with_secrets = snapshot.with_secrets(told, envoy.secrets_for(told.resources))
    if problems := snapshot.check(with_secrets):
        raise RuntimeError(f"{case}: {problems[0]}")
    return {
        "checks": milliseconds(lambda: validate.check(registry, resources), forget, rounds),
        "cold": milliseconds(lambda: made(registry, resources), forget, rounds),
        "warm": milliseconds(lambda: made(registry, resources), memory.forget_unused, rounds),
        "sent": sizes(told.resources),
    }


def sizes(resources: Resources) -> dict[str, dict[str, int]]:
    """Return how many resources there are of each type, and their bytes."""
    return {
        noun: {"count": len(resources[kind]), "bytes": sum(len(one.body) for one in resources[kind].values())}
        for noun, kind in TYPES.items()
    }


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    if not DATA.exists():
        print(f"bench/generation.py: {DATA} is not there: nothing is measured")
        return
    results: dict[str, dict[str, Any]] = {}
    for services in (100,) if quick else (100, 1000):
        cases = [case for case in CASES if services <= ONLY_FEW.get(case, services)]
        found = {case: measure(case, services, 1 if quick else 3) for case in cases}
        results[str(services)] = found
        _report.table(
            f"One proxy's configuration from Istio's inputs, {services} services",
            ("input", "checks ms", "cold ms", "warm ms", *TYPES),
            [
                (
                    case,
                    *(_report.number(one[key]) for key in ("checks", "cold", "warm")),
                    *(
                        f"{size['count']:,} ({_report.number(size['bytes'] / 1000)} kB)"
                        for size in one["sent"].values()
                    ),
                )
                for case, one in found.items()
            ],
        )
    _report.keep("generation", {"services": results}, quick=quick)


if __name__ == "__main__":
    main()

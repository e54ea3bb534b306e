"""Whatever passes Clover's own checks is configuration that the real Envoy takes: nobody ever sees a refusal."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from clover.errors import DocumentError, errors_only
from clover.mesh.xds import compile
from harness import envoy, policies, random_policies

pytestmark = pytest.mark.envoy

GOLDEN = Path(__file__).parents[1] / "golden" / "istio"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/policy.yaml"))


def refusals(text, directory):
    """Return what Envoy says against a gateway and a sidecar under a policy."""
    proxies = policies.proxies(text)
    said = (
        envoy.validated(envoy.static(compile.resources_from(proxies[node])), directory) for node in ("gateway", "waf")
    )
    return [refusal for refusal in said if refusal]


@pytest.mark.parametrize("case", CASES)
def test_envoy_accepts_every_policy_of_the_golden_files(case, tmp_path):
    assert refusals((GOLDEN / case / "policy.yaml").read_text(encoding="utf-8"), tmp_path) == []


@given(random_policies.SOUND)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_envoy_accepts_whatever_the_checks_let_through(tmp_path, documents):
    text = yaml.safe_dump_all(documents)
    try:
        problems = policies.problems(text)
    except DocumentError:
        assume(False)
    assume(not errors_only(problems))

    assert refusals(text, tmp_path) == []

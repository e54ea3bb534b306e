"""Whatever passes Clover's own checks is configuration that the real Envoy takes: nobody ever sees a refusal."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from clover.errors import DocumentError, errors_only
from clover.mesh.xds import bootstrap, compile
from clover.mesh.xds.settings import DEFAULTS, Settings
from harness import envoy, policies, random_policies

pytestmark = pytest.mark.envoy

GOLDEN = Path(__file__).parents[1] / "golden" / "istio"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/proxies.yaml") if path.stat().st_size)
"""Those that Clover itself does not refuse."""


AS_IT_RUNS = Settings(gateway_proxy_protocol=True, way_out="/run/clover/sdc/out")


def refusals(text, directory, *, nodes=("gateway", "waf"), settings=DEFAULTS):
    """Return what Envoy says against a gateway and sidecars under a policy."""
    proxies = policies.proxies(text)
    said = (envoy.validated(_configuration(proxies[node], directory, settings), directory) for node in nodes)
    return [refusal for refusal in said if refusal]


def _configuration(proxy, directory, settings):
    """Return all that a proxy is told, with the run-time settings that every proxy starts with."""
    own = bootstrap.bootstrap(
        proxy.identity,
        node=proxy.node,
        xds_socket=str(directory / "xds.sock"),
        otlp_socket=str(directory / "otlp.sock"),
        admin_socket=str(directory / "admin.sock"),
    )
    told = json.loads(envoy.static(compile.resources_from(proxy, settings)))
    return json.dumps(told | {"layered_runtime": json.loads(own)["layered_runtime"]})


@pytest.mark.parametrize("case", CASES)
def test_envoy_accepts_every_policy_of_the_golden_files(case, tmp_path):
    text = (GOLDEN / case / "policy.yaml").read_text(encoding="utf-8")
    # One proxy of all that are told the same.
    told = [names.partition(", ")[0] for names in yaml.safe_load((GOLDEN / case / "proxies.yaml").read_text("utf-8"))]

    assert told
    assert refusals(text, tmp_path, nodes=told, settings=AS_IT_RUNS) == []


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

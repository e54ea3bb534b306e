"""What each kind of proxy is sent, in Envoy's own words."""

import pytest

from clover.mesh import snapshot
from clover.mesh.xds import compile
from harness import envoy
from harness.proxies import CASES


@pytest.mark.parametrize("case", CASES)
def test_a_proxy_compiles_to_the_configuration_on_file(case, golden):
    golden(f"xds/{case}.json", envoy.as_json(compile.resources_from(CASES[case])))


@pytest.mark.parametrize("case", CASES)
def test_a_proxy_of_the_cases_is_consistent(case):
    secrets = envoy.secrets_for(compile.resources_from(CASES[case]))

    assert snapshot.check(snapshot.snapshot_from(CASES[case], secrets=secrets)) == ()

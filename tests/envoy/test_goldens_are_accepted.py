"""Every configuration that the golden files show is one that the real Envoy takes."""

import pytest

from clover.mesh.xds import bootstrap, compile
from harness import envoy
from harness.proxies import CASES, SIDECAR

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("case", CASES)
def test_envoy_accepts_the_configuration(case, tmp_path):
    assert envoy.validated(envoy.static(compile.resources_from(CASES[case])), tmp_path) == ""


def test_envoy_accepts_the_bootstrap(tmp_path):
    text = bootstrap.bootstrap(
        SIDECAR,
        node="http-lb-v1",
        xds_socket=str(tmp_path / "xds.sock"),
        otlp_socket=str(tmp_path / "otlp.sock"),
        admin_socket=str(tmp_path / "admin.sock"),
    )

    assert envoy.validated(text, tmp_path) == ""

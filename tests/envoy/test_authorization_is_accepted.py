"""Whatever passes the checks of authorization is taken by the real Envoy, over HTTP, TCP and both."""

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from clover.errors import DocumentError, errors_only
from clover.mesh.istio.registry import ServicePort
from clover.mesh.xds import compile
from harness import envoy, policies, random_authorization

pytestmark = pytest.mark.envoy

REGISTRY = policies.with_ports(
    ServicePort(number=9180), ServicePort(number=9181, name="http"), ServicePort(number=9182, name="tcp")
)
SETTINGS = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
PLAINTEXT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
---
"""


def refusal(documents, directory):
    text = PLAINTEXT + yaml.safe_dump_all(documents, allow_unicode=True)
    try:
        problems = policies.problems(text, registry=REGISTRY)
    except DocumentError:
        assume(False)
    assume(not errors_only(problems))
    proxy = policies.proxies(text, registry=REGISTRY)["server"]
    return envoy.validated(envoy.static(compile.resources_from(proxy)), directory)


@given(random_authorization.policies(odd=False))
@SETTINGS
def test_envoy_accepts_sound_policies(tmp_path, documents):
    assert refusal(documents, tmp_path) == ""


@given(random_authorization.policies(odd=True))
@SETTINGS
def test_envoy_accepts_whatever_of_odd_policies_the_checks_let_through(tmp_path, documents):
    assert refusal(documents, tmp_path) == ""

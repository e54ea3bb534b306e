"""Whatever is said about what a workload may reach is refused by Clover, or taken by the real Envoy."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from clover.errors import DocumentError, errors_only
from clover.mesh import snapshot
from clover.mesh.xds import compile
from clover.mesh.xds.resource import SECRET
from clover.mesh.xds.settings import Settings
from harness import envoy, policies, random_entries

pytestmark = pytest.mark.envoy

SETTINGS = Settings(), Settings(way_out="/run/clover/out")


@given(random_entries.ENTRIES)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_envoy_takes_whatever_the_checks_let_through(tmp_path, documents):
    text = yaml.safe_dump_all(documents)
    try:
        if errors_only(policies.problems(text)):
            return
    except DocumentError:
        return
    known = policies.proxies(text)
    for node in ("gateway", "waf"):
        for where in SETTINGS:
            assert faults(known[node], where) == []
            assert envoy.validated(envoy.static(compile.resources_from(known[node], where)), tmp_path) == ""


def faults(proxy, where):
    """Return what Clover itself finds wrong, but for certificates, which nobody has issued here."""
    found = snapshot.check(snapshot.snapshot_from(proxy, where))
    return [problem for problem in found if f" needs {SECRET_NOUN} " not in problem.what]


SECRET_NOUN = snapshot.NOUNS[SECRET]

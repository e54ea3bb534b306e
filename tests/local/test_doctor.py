"""The doctor in front of real kernels: this one, and one that forbids user namespaces."""

import json
import subprocess
import sys

import pytest

from clover.doctor import host

pytestmark = pytest.mark.local

ASK = """
import json
from clover.doctor import host
print(json.dumps([
    [problem.as_json() for problem in host.problems_that_stop_a_chain([], rootless=True)],
    [[check.name, check.outcome] for check in host.kernel(rootless=True)],
]))
"""


@pytest.fixture(scope="module")
def without_user_namespaces():
    """Return what the doctor says where an ordinary user may not make user namespaces."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, sys.executable, ASK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip("this machine makes no user namespaces to begin with")
    return json.loads(done.stdout)


def test_this_machine_passes_every_check_of_the_kernel_one_way_or_the_other():
    ways = [[check.outcome for check in host.kernel(rootless=rootless)] for rootless in (False, True)]

    assert ["ok"] * 6 in ways


def test_a_kernel_without_user_namespaces_gives_one_clear_problem(without_user_namespaces):
    (problem,), _ = without_user_namespaces

    assert problem["code"] == "CLV2201"
    assert "/proc/sys/user/max_user_namespaces is 0" in problem["what"]
    assert problem["hint"] == "sudo sysctl -w user.max_user_namespaces=15000"


def test_what_cannot_be_tried_without_namespaces_is_skipped_instead_of_failing_too(without_user_namespaces):
    _, checks = without_user_namespaces

    assert [outcome for _, outcome in checks] == ["failed", *["skipped"] * 5]

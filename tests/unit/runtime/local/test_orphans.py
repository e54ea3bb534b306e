import os
import subprocess

import pytest

from clover.runtime.local import orphans


@pytest.fixture
def dead():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child
    child.wait()


def test_a_child_that_has_just_ended_is_left_to_who_started_it(dead):
    assert dead.pid in orphans.reap(frozenset())
    assert os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT).si_pid == dead.pid


def test_a_child_that_nobody_has_collected_by_the_next_look_is_collected(dead):
    assert dead.pid not in orphans.reap(orphans.reap(frozenset()))
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)


def test_a_living_child_is_left_alone():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert child.pid not in orphans.reap(frozenset({child.pid}))
        child.communicate()
        assert child.returncode == 0

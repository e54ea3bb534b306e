"""What is said of a store that does not open."""

import errno
from pathlib import Path

from clover.telemetry.store import problems


def test_a_folder_that_cannot_be_made_names_the_variable_that_chooses_another():
    problem = problems.unopened(Path("/proc/x"), FileNotFoundError(errno.ENOENT, "No such file or directory"))

    assert (problem.code, problem.hint) == ("CLV6004", "set CLOVER_STATE to a folder of your own")

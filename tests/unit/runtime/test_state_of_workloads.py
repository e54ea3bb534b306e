"""What is said of a workload whose parts are not all well."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clover.runtime.status import ProcessStatus, State, WorkloadStatus
from clover.visibility.node import _broken


def workload(*, sidecar=State.READY, engine=State.READY, ambassador=State.READY) -> WorkloadStatus:
    return WorkloadStatus(
        name="web",
        sidecar=ProcessStatus(state=sidecar),
        engine=ProcessStatus(state=engine),
        companions={"ambassador": ProcessStatus(state=ambassador, last_exit="killed by SIGKILL")},
    )


def test_a_function_serves_on_when_its_ambassador_died():
    status = workload(ambassador=State.RESTARTING)

    assert (status.state, status.takes_traffic) == (State.READY, True)


@pytest.mark.parametrize("part", ["sidecar", "engine"])
def test_a_function_without_its_engine_or_its_sidecar_is_restarting(part):
    status = workload(**{part: State.RESTARTING})

    assert (status.state, status.takes_traffic) == (State.RESTARTING, False)


def test_a_chain_that_comes_up_is_not_ready_before_its_ambassadors_are():
    assert workload(ambassador=State.STARTING).state is State.STARTING


def test_an_ambassador_that_died_is_a_problem_with_the_command_that_shows_its_words():
    plan = SimpleNamespace(name="web", engine="nginx", gateway=False)

    (problem,) = _broken(plan, workload(ambassador=State.RESTARTING))

    assert (problem.code, problem.where, problem.hint) == (
        "CLV5103",
        "ambassador of web",
        "clover logs web --ambassador",
    )
    assert problem.what == "its ambassador died and is being started again (restart 0): killed by SIGKILL"

"""A change comes into force as a whole, or the engine goes on as it was."""

from __future__ import annotations

import asyncio
import signal

import pytest

from harness.ambassadors import Controlled, Refusal

ONE = 'configuration { load_balancer { backends { host: "web-1" } } }'
TWO = 'configuration { load_balancer { backends { host: "web-2" } } }'
BOTH = 'configuration { load_balancer { backends { host: "web-1" } backends { host: "web-2" } } }'


def refusal(caught: pytest.ExceptionInfo[Refusal]) -> Refusal:
    return caught.value


async def test_a_change_is_served_when_it_is_confirmed(balancer: Controlled):
    answer = await balancer.call("Apply", TWO)

    assert (answer.generation, answer.changed) == (2, True)
    assert balancer.fetch() == (200, "web-2")
    assert [step.name for step in answer.steps] == ["render", "write", "check", "activate", "confirm"]
    assert all(step.duration.ToNanoseconds() >= 0 for step in answer.steps)
    assert "-- host: web-1\n+- host: web-2\n" in answer.diff


async def test_what_is_in_force_can_be_asked_for_and_has_its_defaults(balancer: Controlled):
    await balancer.call("Apply", TWO)
    state = await balancer.state()

    (backend,) = state.configuration.load_balancer.backends
    assert (backend.host, backend.weight, state.generation) == ("web-2", 1, 2)
    assert state.engine_ready
    assert state.applied_at.seconds > 1_700_000_000


async def test_the_same_configuration_again_changes_nothing_whatever_was_expected(balancer: Controlled):
    await balancer.call("Apply", TWO)

    answer = await balancer.call("Apply", TWO + " expected_generation: 1")

    assert (answer.generation, answer.changed, answer.diff) == (2, False, "")
    assert balancer.generations() == ["000001", "000002", "current"]


async def test_a_dry_run_says_what_would_change_and_changes_nothing(balancer: Controlled):
    answer = await balancer.call("Apply", TWO + " dry_run: true")

    assert (answer.generation, answer.changed, answer.dry_run) == (2, True, True)
    assert "+- host: web-2" in answer.diff
    assert balancer.fetch() == (200, "web-1")
    assert balancer.generations() == ["000001", "current"]
    assert (await balancer.state()).generation == 1


async def test_a_change_of_what_somebody_else_has_changed_is_refused(balancer: Controlled):
    await balancer.call("Apply", TWO + " expected_generation: 1")

    with pytest.raises(Refusal) as caught:
        await balancer.call("Apply", BOTH + " expected_generation: 1")

    assert (refusal(caught).code, refusal(caught).reason) == ("FAILED_PRECONDITION", "CLV3301")
    assert "GENERATION" in refusal(caught).unmet
    assert refusal(caught).facts["generation"] == "2"
    assert balancer.fetch() == (200, "web-2")


async def test_of_many_writers_that_saw_the_same_state_exactly_one_succeeds(balancer: Controlled):
    answers = await asyncio.gather(
        *(
            balancer.call(
                "Apply",
                f'configuration {{ load_balancer {{ backends {{ host: "web-2" weight: {n} }} }} }}'
                " expected_generation: 1",
            )
            for n in range(2, 12)
        ),
        return_exceptions=True,
    )

    (won,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    lost = [answer for answer in answers if isinstance(answer, Refusal)]
    assert won.generation == 2
    assert [one.reason for one in lost] == ["CLV3301"] * 9
    assert (await balancer.state()).generation == 2


async def test_writers_that_expect_nothing_are_served_one_after_the_other(balancer: Controlled):
    texts = [
        f'configuration {{ load_balancer {{ backends {{ host: "web-{n % 3 + 1}" weight: {n + 1} }} }} }}'
        for n in range(1, 7)
    ]
    answers = await asyncio.gather(*(balancer.call("Apply", text) for text in texts))

    assert sorted(answer.generation for answer in answers) == list(range(2, 8))
    last = max(range(len(answers)), key=lambda place: answers[place].generation)
    assert balancer.fetch() == (200, f"web-{(last + 1) % 3 + 1}")
    assert len(balancer.generations()) == 6, "five generations are kept, and the link"


@pytest.mark.parametrize(
    ("text", "reason", "field"),
    [
        ('load_balancer { backends { host: "web-9" } }', "CLV3302", "load_balancer.backends[0].host"),
        ('load_balancer { backends { host: "web-1" port: 81 } }', "CLV3302", "load_balancer.backends[0].port"),
        ("load_balancer {}", "CLV3304", "load_balancer.backends"),
        ('load_balancer { backends { host: "web-1" weight: 300 } }', "CLV3303", "load_balancer.backends[0].weight"),
        ("cache {}", "CLV3300", "cache"),
        ("", "CLV3300", "load_balancer"),
    ],
)
async def test_a_configuration_that_cannot_be_is_refused_by_its_field(
    balancer: Controlled, text: str, reason: str, field: str
):
    with pytest.raises(Refusal) as caught:
        await balancer.call("Apply", f"configuration {{ {text} }}")

    assert (refusal(caught).code, refusal(caught).reason) == ("INVALID_ARGUMENT", reason)
    assert list(refusal(caught).fields) == [field]
    assert balancer.generations() == ["000001", "current"]


async def test_a_backend_is_drained_and_brought_back(balancer: Controlled):
    await balancer.call("Apply", BOTH)
    await balancer.call("SetBackendState", 'host: "web-1" state: BACKEND_STATE_DISABLED')

    assert {balancer.fetch() for _ in range(6)} == {(200, "web-2")}
    listed = await balancer.call("ListBackends")
    assert [(one.backend.host, one.backend.state) for one in listed.backends] == [("web-1", 3), ("web-2", 1)]

    await balancer.call("SetBackendState", 'host: "web-1" state: BACKEND_STATE_READY weight: 2')

    assert {balancer.fetch() for _ in range(12)} == {(200, "web-1"), (200, "web-2")}


async def test_a_backend_that_is_not_there_cannot_be_drained(balancer: Controlled):
    with pytest.raises(Refusal) as caught:
        await balancer.call("SetBackendState", 'host: "web-2" state: BACKEND_STATE_DRAIN')

    assert (refusal(caught).code, refusal(caught).reason) == ("NOT_FOUND", "CLV3315")


async def test_nothing_is_written_while_the_engine_does_not_run(balancer: Controlled):
    balancer.kill_engine()

    with pytest.raises(Refusal) as caught:
        await balancer.call("Apply", TWO)

    assert (refusal(caught).code, refusal(caught).reason) == ("INTERNAL", "CLV3308")
    assert balancer.generations() == ["000001", "current"]
    state = await balancer.state()
    assert (state.engine_ready, state.generation) == (False, 1)
    assert state.engine_message

    balancer.start_engine()
    await balancer.until_ready()
    assert (await balancer.call("Apply", TWO)).generation == 2


async def test_a_dry_run_does_not_need_the_engine(balancer: Controlled):
    balancer.kill_engine()

    assert (await balancer.call("Apply", TWO + " dry_run: true")).changed


async def test_an_engine_that_was_started_again_works_by_what_is_in_force(balancer: Controlled):
    await balancer.call("Apply", TWO)
    balancer.kill_engine()
    balancer.start_engine()

    state = await balancer.until_ready()

    assert state.generation == 2
    assert balancer.fetch() == (200, "web-2")


async def test_a_client_that_goes_away_leaves_no_change_half_done(balancer: Controlled):
    for pause_ms in range(0, 200, 10):
        call = asyncio.ensure_future(balancer.call("Apply", TWO if pause_ms % 20 else BOTH))
        await asyncio.sleep(pause_ms / 1000)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    state = await balancer.until_ready()
    assert balancer.in_force() == f"{state.generation:06d}"
    assert not {name for name in balancer.generations() if name.startswith(".")}
    expected = {"web-1", "web-2"} if len(state.configuration.load_balancer.backends) == 2 else {"web-2"}
    wanted = expected if state.generation > 1 else {"web-1"}
    assert {balancer.fetch()[1] for _ in range(8)} == wanted


async def test_a_change_goes_on_to_its_end_when_the_ambassador_is_told_to_stop(balancer: Controlled):
    call = asyncio.ensure_future(balancer.call("Apply", TWO))
    async for status in balancer.stream("Watch", "interval { seconds: 5 }"):
        if status.changing:
            break
    await asyncio.to_thread(balancer.stop_ambassador)
    await asyncio.gather(call, return_exceptions=True)

    assert balancer.in_force() == "000002"
    assert balancer.generations() == ["000001", "000002", "current"]
    assert balancer.fetch() == (200, "web-2")
    assert balancer.ambassador_log().endswith("fn: stopped, generation 2\n")


async def test_an_engine_that_does_not_answer_gets_no_change(balancer: Controlled):
    assert balancer.engine is not None
    children = [balancer.engine.pid, *map(int, _children(balancer.engine.pid))]
    for pid in children:
        _signal(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Refusal) as caught:
            await balancer.call("Apply", TWO)
    finally:
        for pid in children:
            _signal(pid, signal.SIGCONT)

    assert refusal(caught).code in ("INTERNAL", "ABORTED")
    state = await balancer.until_ready()
    assert state.generation == 1
    assert balancer.fetch() == (200, "web-1")


def _children(pid: int) -> list[str]:
    from pathlib import Path

    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _signal(pid: int, number: signal.Signals) -> None:
    import os

    os.kill(pid, number)

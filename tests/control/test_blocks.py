"""A firewall's blocks as its callers see them: over gRPC, over restarts, and to their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from closed_loop import firewall
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.control._proto import control_pb2
from clover.control.block_file import parse, render
from clover.control.blocks import Blocks
from clover.control.client import CallFailedError, Client
from clover.control.handlers import Telemetry
from clover.control.methods import METHODS
from clover.control.telemetry import OtlpTelemetry
from clover.errors import Problem
from clover.spec.configuration import BlockPolicy
from harness.otlp import Received, receiving

CLIENT = "192.0.2.7"


@dataclass(kw_only=True)
class Asked:
    """A firewall's ambassador, asked over gRPC."""

    client: Client
    address: str
    part: Blocks
    telemetry: Telemetry

    async def __call__(self, method: str, **fields):
        chosen = METHODS[method]
        answered = await self.client.call(self.address, chosen, chosen.request(**fields), timeout_s=10)
        return answered.message

    async def refused(self, method: str, **fields) -> tuple[str, tuple[Problem, ...]]:
        with pytest.raises(CallFailedError) as failure:
            await self(method, **fields)
        return failure.value.answer.code, failure.value.problems

    async def blocked(self) -> list[str]:
        return [block.address for block in (await self("ListBlocks")).blocks]


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


Start = Callable[..., contextlib.AbstractAsyncContextManager[Asked]]


@pytest.fixture
async def otlp(tmp_path) -> AsyncIterator[Received]:
    async with receiving(tmp_path / "otlp.sock") as received:
        yield received


@pytest.fixture
def start(tmp_path, otlp) -> Start:
    @contextlib.asynccontextmanager
    async def started(**more) -> AsyncIterator[Asked]:
        telemetry = OtlpTelemetry(resource={}, attributes={})
        async with (
            firewall(tmp_path / "fw", tmp_path / "otlp.sock", **more) as (port, part),
            Client(telemetry) as client,
        ):
            yield Asked(client=client, address=f"127.0.0.1:{port}", part=part, telemetry=telemetry)

    return started


def engine(tmp_path: Path) -> set[str]:
    """Whom the engine refuses now."""
    folder = tmp_path / "fw" / "blocks"
    return {file.name for file in folder.iterdir()} if folder.exists() else set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_block_is_in_force_when_the_call_returns_and_gone_when_it_is_taken_back(start, tmp_path, otlp):
    async with start() as asked:
        answer = await asked("Block", address="2001:DB8::0:7", reason="because")
        assert answer.block.address == "2001:db8::7"
        assert answer.block.until.seconds - answer.block.since.seconds == 60
        assert len(answer.block.trace_id) == 32
        assert len(engine(tmp_path)) == 1
        assert await asked.blocked() == ["2001:db8::7"]
        assert (await asked("Unblock", address="2001:db8::7")).unblocked
        assert not (await asked("Unblock", address="2001:db8::7")).unblocked
        assert engine(tmp_path) == set()
        assert await asked.blocked() == []
        await otlp.until(lambda got: len(got.logs) == 2)
    assert [one.name for one in otlp.logs] == ["blocked 2001:db8::7 for 60 s: because", "unblocked 2001:db8::7"]
    assert [one.attributes["clover.change.method"] for one in otlp.logs] == ["Block", "Unblock"]
    assert {one.attributes["clover.change.outcome"] for one in otlp.logs} == {"applied"}


async def test_an_order_without_a_duration_lasts_as_long_as_the_policy_says(start):
    async with start(policy=BlockPolicy(duration=5.0)) as asked:
        block = (await asked("Block", address=CLIENT)).block
        assert block.until.ToMicroseconds() - block.since.ToMicroseconds() == 5_000_000


async def test_everything_that_is_wrong_with_an_order_is_said_with_its_field(start, tmp_path):
    async with start() as asked:
        code, problems = await asked.refused(
            "Block", address="1.2.3.4; drop", duration=Duration(seconds=-1), reason="a\nb"
        )
    assert code == "INVALID_ARGUMENT"
    assert [problem.where for problem in problems] == ["address", "duration", "reason"]
    assert problems[0].what.startswith('address is "1.2.3.4; drop", expected')
    assert not (tmp_path / "fw" / "blocks.json").exists()


@pytest.mark.parametrize("address", ["127.0.0.6", "::ffff:127.0.0.6", "10.9.9.9"])
async def test_the_sidecar_and_allowed_clients_cannot_be_blocked_by_anybody(start, address, tmp_path):
    async with start(policy=BlockPolicy(allow=("10.0.0.0/8",))) as asked:
        code, (problem,) = await asked.refused("Block", address=address)
    assert (code, problem.code) == ("FAILED_PRECONDITION", "CLV3341")
    assert engine(tmp_path) == set()


async def test_a_block_ends_by_itself(start, tmp_path, otlp):
    async with start() as asked:
        await asked("Block", address=CLIENT, duration=Duration(nanos=200_000_000))
        assert engine(tmp_path) == {CLIENT}
        await until(lambda: not engine(tmp_path))
        await otlp.until(lambda got: any("are over" in one.name for one in got.logs))
        assert await asked.blocked() == []


async def test_a_restarted_ambassador_finds_its_blocks_and_lifts_those_that_are_over(start, tmp_path):
    clock = Clock()
    async with start(clock=clock) as asked:
        await asked("Block", address=CLIENT, duration=Duration(seconds=10))
        await asked("Block", address="192.0.2.8", duration=Duration(seconds=100))
        # As if it had been killed in the middle: the engine has what no list has, and lacks what one has.
        (tmp_path / "fw" / "blocks" / "192.0.2.99").touch()
        (tmp_path / "fw" / "blocks" / "192.0.2.8").unlink()
    clock.now += 50
    async with start(clock=clock) as asked:
        await until(lambda: engine(tmp_path) == {"192.0.2.8"})
        assert await asked.blocked() == ["192.0.2.8"]
    assert (tmp_path / "fw" / "blocks.json").stat().st_mode & 0o777 == 0o600


async def test_a_damaged_list_blocks_nobody_for_ever(start, tmp_path, otlp):
    async with start() as asked:
        await asked("Block", address=CLIENT, duration=Duration(seconds=100))
    (tmp_path / "fw" / "blocks.json").write_text('{"blocks": [{"address": 5}]}')
    async with start() as asked:
        await until(lambda: not engine(tmp_path))
        assert await asked.blocked() == []
        await otlp.until(lambda got: any("cannot be read" in one.name for one in got.logs))


async def test_a_report_that_is_not_of_an_ambassador_takes_no_room_and_hides_no_block(start, otlp):
    alerts = [
        control_pb2.Alert(id=f"{number}{'x' * 1_000_000}", client=CLIENT, trace_id="no trace", span_id="0x12")
        for number in range(3)
    ]
    async with start(policy=BlockPolicy(threshold=3)) as asked:
        assert (await asked("ReportAlerts", alerts=alerts)).blocked == [CLIENT]
        (block,) = (await asked("ListBlocks")).blocks
        await otlp.until(lambda got: len(got.logs) == 1)

    assert {len(one) for one in block.alert_ids} == {128}
    assert block.trace_id == ""
    assert otlp.logs[0].name.startswith(f"blocked {CLIENT}")


async def test_a_dry_run_blocks_nobody_and_says_whom_it_would(start, tmp_path, otlp):
    async with start(policy=BlockPolicy(threshold=1, dry_run=True)) as asked:
        alerts = [control_pb2.Alert(id="a", rule_id=7, message="evil", client=CLIENT)]
        answer = await asked("ReportAlerts", alerts=alerts, reporter="ids-v1")
        assert list(answer.blocked) == [CLIENT]
        assert (await asked("ReportAlerts", alerts=alerts)).duplicates == 1
        await otlp.until(lambda got: bool(got.logs))
    assert otlp.logs[0].name == f'would block {CLIENT} for 60 s: 1 alert within 10 s (rule 7 "evil")'
    assert engine(tmp_path) == set()


async def test_an_engine_that_cannot_be_told_is_told_again_and_whoever_asked_hears_of_it(start, tmp_path):
    async with start(policy=BlockPolicy(threshold=1)) as asked:
        folder = tmp_path / "fw" / "blocks"
        folder.write_text("in the way")
        code, (problem,) = await asked.refused("Block", address=CLIENT)
        assert (code, problem.code) == ("INTERNAL", "CLV3343")
        assert await asked.blocked() == []
        answer = await asked("ReportAlerts", alerts=[control_pb2.Alert(id="a", client="192.0.2.8")])
        assert not answer.blocked
        folder.unlink()
        await until(lambda: engine(tmp_path) == {"192.0.2.8"})


ENTRY_TEXT = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["blocks", "address", "reason", "since", "until", "alert_ids", "trace_id", "span_id"]),
            inner,
        )
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRY_TEXT)
def test_whatever_the_file_says_it_is_a_list_of_blocks_or_none(data):
    try:
        entries = parse(json.dumps(data))
    except ValueError:
        return
    assert parse(render(entries)) == entries


async def test_whom_the_policy_allows_from_now_on_is_taken_off(start, tmp_path, monkeypatch):
    async with start() as asked:
        for address in (CLIENT, "198.51.100.1"):
            await asked("Block", address=address)
        monkeypatch.setattr(asked.part, "_policy_in_force", lambda: BlockPolicy(allow=("192.0.2.0/24",)))
        await until(lambda: engine(tmp_path) == {"198.51.100.1"})
        assert await asked.blocked() == ["198.51.100.1"]

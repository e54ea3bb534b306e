"""From the engine's record to the block: nothing is lost on the way, and each alert counts once."""

from __future__ import annotations

import asyncio
import time

import pytest
from closed_loop import answering, eve, firewall, ids, ids_process, records, settings_for, surrounded, trace_id

from clover.control import alerts, reports
from clover.control.alerts import Alerts
from clover.control.client import Client
from clover.control.methods import METHODS
from clover.spec.configuration import BlockPolicy
from harness.otlp import receiving
from harness.ports import free_port

LOOK_S = 0.005
PATIENCE_S = 90.0


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


def append(file, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as out:
        out.write(data)


async def write_steadily(file, numbers, *, per_s: float) -> None:
    """Write the records of these requests, so many a second, as the engine does: one after the other."""
    began = time.monotonic()
    for count, number in enumerate(numbers):
        while time.monotonic() < began + count / per_s:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        append(file, records(number))


@pytest.fixture
def otlp_socket(tmp_path):
    return tmp_path / "otlp.sock"


@pytest.fixture
async def otlp(otlp_socket):
    """The receiver of telemetry behind that socket."""
    async with receiving(otlp_socket) as received:
        yield received


async def test_three_alerts_block_their_client_in_the_trace_of_the_request(tmp_path, otlp, otlp_socket):
    policy = BlockPolicy(threshold=3, window=3600.0, duration=600.0)
    file = eve(tmp_path / "ids")
    async with (
        firewall(tmp_path / "fw", otlp_socket, policy=policy) as (port, blocks),
        ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)) as finding,
    ):
        for number in range(3):
            append(file, records(number))
        await until(lambda: (tmp_path / "fw" / "blocks" / "192.0.2.7").exists())
        await until(lambda: finding.statistics()["alerts_reported_total"] == 3)
        assert blocks.statistics()["blocks_active"] == 1
        await otlp.until(lambda got: len([one for one in got.logs if one.attributes["log"] == "alert"]) == 3)
        await otlp.until(lambda got: any("blocked" in one.name for one in got.logs))
        await otlp.until(lambda got: len(got.spans) >= 2)
    (blocked,) = [one for one in otlp.logs if one.attributes["log"] == "change"]
    assert blocked.name.startswith("blocked 192.0.2.7 for 600 s: 3 alerts within 3600 s (rule 9000001")
    assert blocked.trace_id == trace_id(2)
    asked, answered = (
        [span for span in otlp.spans if span.resource["service.name"] == name] for name in ("ids", "firewall")
    )
    assert {span.name for span in asked + answered} == {"clover.control.v1.Ambassador/ReportAlerts"}
    assert asked[-1].trace_id == answered[-1].trace_id == trace_id(2)
    assert answered[-1].parent_id == asked[-1].span_id


async def test_a_thousand_alerts_a_second_reach_a_slow_firewall_without_loss(tmp_path, otlp, otlp_socket):
    async with (
        firewall(tmp_path / "fw", otlp_socket, delay_s=0.3) as (port, blocks),
        ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)) as finding,
    ):
        await write_steadily(eve(tmp_path / "ids"), range(3000), per_s=1000)
        await until(lambda: finding.statistics()["alerts_reported_total"] == 3000)
        await otlp.until(lambda got: len(got.logs) == 3000)
        statistics = finding.statistics()
    assert statistics["alerts_total"] == statistics["alerts_reported_total"] == 3000
    assert statistics["alerts_dropped_total"] == statistics["alerts_waiting"] == 0
    assert blocks.statistics()["alerts_duplicate_total"] == 0


async def test_a_client_cannot_stop_reports_by_what_it_asks_for(tmp_path, otlp, otlp_socket):
    """Five hundred of the longest alerts are more than a message may have."""
    longest = "\U0001d4b3".encode()

    def record(number: int) -> bytes:
        return records(number).replace(b"/?n=", b"/" + longest * 2000).replace(b"shop.example", longest * 300)

    port = free_port()
    async with ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)) as finding:
        append(eve(tmp_path / "ids"), b"".join(map(record, range(1000))))
        await until(lambda: finding.statistics()["alerts_waiting"] == 1000)
        async with firewall(tmp_path / "fw", otlp_socket, port=port) as (_, blocks):
            await until(lambda: finding.statistics()["alerts_reported_total"] == 1000)
            assert blocks.statistics()["alerts_reported_total"] >= 1000


async def test_alerts_wait_for_a_firewall_that_comes_late_and_two_lines_say_so(tmp_path, otlp, otlp_socket):
    port = free_port()
    async with ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)) as finding:
        await write_steadily(eve(tmp_path / "ids"), range(2000), per_s=1000)
        await until(lambda: finding.statistics()["alerts_waiting"] == 2000)
        async with firewall(tmp_path / "fw", otlp_socket, port=port) as (_, blocks):
            await until(lambda: finding.statistics()["alerts_waiting"] == 0)
            assert blocks.statistics()["alerts_reported_total"] == 2000
            await otlp.until(lambda got: any("reported to" in one.name and "again" in one.name for one in got.logs))
    assert len([one for one in otlp.logs if one.attributes["log"] == "output"]) == 2


async def test_an_ambassador_that_is_killed_again_and_again_loses_no_alert(tmp_path, otlp, otlp_socket):
    file = eve(tmp_path / "ids")
    async with firewall(tmp_path / "fw", otlp_socket, delay_s=0.05) as (port, blocks), asyncio.TaskGroup() as tasks:

        def heard() -> float:
            statistics = blocks.statistics()
            return statistics["alerts_reported_total"] - statistics["alerts_duplicate_total"]

        writing = tasks.create_task(write_steadily(file, range(1500), per_s=500))
        for enough in (400, 900):
            async with ids_process(tmp_path / "ids", otlp_socket, report_to=f"127.0.0.1:{port}"):
                await until(lambda enough=enough: heard() >= enough)
        async with ids_process(tmp_path / "ids", otlp_socket, report_to=f"127.0.0.1:{port}"):
            await writing
            await until(lambda: heard() == 1500)
    assert blocks.statistics()["alerts_unattributed_total"] == 0


async def test_what_has_been_reported_is_not_read_again_after_a_while(tmp_path, otlp, otlp_socket, monkeypatch):
    monkeypatch.setattr(alerts, "SETTLE_S", 0.3)
    monkeypatch.setattr(alerts, "LOOK_S", 0.1)
    file, place = eve(tmp_path / "ids"), tmp_path / "ids" / "alerts.offset"
    async with firewall(tmp_path / "fw", otlp_socket) as (port, blocks):
        to = (f"127.0.0.1:{port}",)
        async with ids(tmp_path / "ids", otlp_socket, report_to=to):
            append(file, b"".join(records(number) for number in range(10)))
            await until(lambda: place.exists() and f'"offset": {file.stat().st_size}' in place.read_text())
        append(file, records(10))
        async with ids(tmp_path / "ids", otlp_socket, report_to=to) as finding:
            await until(lambda: blocks.statistics()["alerts_reported_total"] == 11)
            assert finding.statistics()["alerts_total"] == 1


async def test_the_oldest_are_dropped_and_counted_when_too_many_wait(tmp_path, otlp, otlp_socket, monkeypatch):
    port = free_port()
    monkeypatch.setattr(reports.Reporter.__init__, "__kwdefaults__", {"most": 600})
    async with ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)) as finding:
        append(eve(tmp_path / "ids"), b"".join(records(number) for number in range(1000)))
        await until(lambda: finding.statistics()["alerts_dropped_total"] == 400)
        await otlp.until(lambda got: any("are dropped" in one.name for one in got.logs))
        async with firewall(tmp_path / "fw", otlp_socket, port=port) as (_, blocks):
            await until(lambda: finding.statistics()["alerts_waiting"] == 0)
            assert blocks.statistics()["alerts_reported_total"] == 600


async def test_an_alert_reaches_the_firewall_within_milliseconds(tmp_path, otlp, otlp_socket):
    times = []
    async with (
        firewall(tmp_path / "fw", otlp_socket) as (port, blocks),
        ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)),
    ):
        for number in range(60):
            began = time.perf_counter()
            append(eve(tmp_path / "ids"), records(number))
            while blocks.statistics()["alerts_reported_total"] <= number:  # noqa: ASYNC110
                await asyncio.sleep(0)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(reports.LINGER_S)
    times.sort()
    print(
        f"alert to block list: p50 {times[30] * 1000:.1f} ms, p90 {times[54] * 1000:.1f} ms, max {times[-1] * 1000:.1f}"
    )
    assert times[30] < 0.1


async def test_whoever_watches_sees_the_alerts_from_then_on(tmp_path, otlp, otlp_socket):
    settings = settings_for("ids", tmp_path / "ids", otlp_socket)
    async with surrounded(settings) as surroundings, asyncio.TaskGroup() as tasks:
        finding = Alerts(surroundings)
        working = tasks.create_task(finding.run())
        method = METHODS["StreamAlerts"]
        async with answering(finding.handlers(), surroundings) as port, Client(surroundings.telemetry) as client:
            stream = client.stream(f"127.0.0.1:{port}", method, method.request())
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: finding.statistics()["alert_subscribers"] == 1)
            append(eve(tmp_path / "ids"), records(5))
            message = await first
            await stream.aclose()
            await until(lambda: finding.statistics()["alert_subscribers"] == 0)
        working.cancel()
    assert (message.rule_id, message.client, message.trace_id) == (9000001, "192.0.2.7", trace_id(5))


async def test_without_an_engine_yet_the_ambassador_waits_for_its_file(tmp_path, otlp, otlp_socket):
    async with (
        firewall(tmp_path / "fw", otlp_socket) as (port, blocks),
        ids(tmp_path / "ids", otlp_socket, report_to=(f"127.0.0.1:{port}",)) as finding,
    ):
        eve(tmp_path / "ids").parent.rmdir()
        await until(lambda: finding.statistics()["alerts_total"] == 0)
        append(eve(tmp_path / "ids"), records(1))
        await until(lambda: blocks.statistics()["alerts_reported_total"] == 1)

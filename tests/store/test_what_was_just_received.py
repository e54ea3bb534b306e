"""Who asks right after something happened is told of all that was received by then."""

from __future__ import annotations

import asyncio
import time

import pytest
import pytest_asyncio

from clover.telemetry import otlp, query
from clover.telemetry.store import open_store
from clover.telemetry.store.store import Limits

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(tmp_path_factory):
    """A store that waits long for company before it commits."""
    limits = Limits(commit_interval_s=60, commit_pause_s=60)
    async with open_store(tmp_path_factory.mktemp("patient"), limits=limits) as opened:
        yield opened


def alert(number: int) -> bytes:
    attributes = {"log": "alert", "clover.alert.id": str(number)}
    made = otlp.LogRecord(time_unix_nano=time.time_ns(), event="clover.alert", body="b", attributes=attributes)
    return otlp.logs_request({"service.name": "ids"}, [made])


async def ids(store) -> set[str]:
    found = await query.recent(store, query.ALERTS, query.Window(function="ids"))
    return {one.id for one in found}


async def test_alerts_that_wait_to_be_stored_are_listed_too(patient):
    await patient.insert_logs(alert(0))
    async with asyncio.timeout(30):
        for number in range(1, 5):
            patient.note_logs(alert(number))

            # In the middle of the pause, and in the middle of the commit that the first of them asked for.
            first, second = await asyncio.gather(ids(patient), ids(patient))

            assert first == second == {str(one) for one in range(number + 1)}


async def test_nothing_is_committed_for_who_asks_when_nothing_waits(patient):
    await patient.settle()
    commits = patient.commits

    await ids(patient)

    assert patient.commits == commits

"""The calls that every function answers: what it is told and how it is, now and as it changes, and to change it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.handlers import Call, Handlers, Surroundings, Violation
from clover.control.transaction import Content, Result, Transactions
from clover.functions.driver import EngineError
from clover.functions.state import State

LEAST_INTERVAL_S, INTERVAL_S, MOST_INTERVAL_S = 0.1, 1.0, 3600.0
STATISTICS_S = 2.0
"""How long an engine may take to tell its counters."""

Statistics = Callable[[], Mapping[str, float]]


class Calls:
    """`Get`, `Apply` and `Watch`."""

    def __init__(
        self, surroundings: Surroundings, transactions: Transactions, *, more: tuple[Statistics, ...] = ()
    ) -> None:
        """`more` are counters of the ambassador's other parts, told beside the engine's."""
        self._settings = surroundings.settings
        self._running = surroundings.running
        self._transactions = transactions
        self._more = more
        self._counting = asyncio.Lock()
        self._counters: dict[str, float] = {}
        self._counted_at = float("-inf")

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {"Get": self.get, "Apply": self.apply, "Watch": self.watch}

    async def get(self, _: control_pb2.GetRequest, call: Call) -> control_pb2.State:
        """Return what the function is told, and how it is."""
        del call
        health = await self._transactions.in_force.health()
        state, settings = self._transactions.in_force.state, self._settings
        return control_pb2.State(
            function=settings.function,
            version=settings.version,
            workload=settings.workload,
            type=settings.type,
            engine=settings.engine,
            generation=state.generation,
            applied_at=convert.timestamp(state.applied_at) if state.applied_at else None,
            configuration=convert.message_from(state.configuration),
            engine_ready=health.ready,
            engine_message=health.message,
        )

    async def apply(self, request: control_pb2.ApplyRequest, call: Call) -> control_pb2.ApplyResponse:
        """Bring a configuration into force."""

        def wanted(state: State) -> Content:
            return convert.configuration_from(request.configuration, type_=self._settings.type), state.files

        result = await self._transactions.apply(
            wanted, call=call, expected=request.expected_generation, dry_run=request.dry_run
        )
        return apply_response(result)

    async def watch(self, request: control_pb2.WatchRequest, call: Call) -> AsyncIterator[control_pb2.Status]:
        """Yield the status, now and whenever it changes, and at least once in every interval."""
        del call
        interval_s = convert.seconds_from(request.interval) if request.HasField("interval") else INTERVAL_S
        if not LEAST_INTERVAL_S <= interval_s <= MOST_INTERVAL_S:
            what = f"found {interval_s:g} s, expected {LEAST_INTERVAL_S:g} s to {MOST_INTERVAL_S:g} s"
            raise convert.invalid((Violation(field="interval", what=what),))
        while True:
            # Taken first: what happens while the status is made is news, too.
            news = self._transactions.in_force.news
            yield await self._status()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), interval_s)

    async def _status(self) -> control_pb2.Status:
        health = await self._transactions.in_force.health()
        statistics = await self._statistics()
        return control_pb2.Status(
            workload=self._settings.workload,
            generation=self._transactions.in_force.state.generation,
            engine_ready=health.ready,
            engine_message=health.message,
            changing=self._transactions.changing,
            statistics=statistics,
            time=convert.timestamp(time.time()),
        )

    async def _statistics(self) -> dict[str, float]:
        """Return all counters; many who watch ask the engine together."""
        async with self._counting:
            if time.monotonic() - self._counted_at >= LEAST_INTERVAL_S:
                self._counters = await self._count()
                self._counted_at = time.monotonic()
        return self._counters

    async def _count(self) -> dict[str, float]:
        found = {name: value for some in self._more for name, value in some().items()}
        if self._running is not None:
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(STATISTICS_S):
                    found.update(await self._running.statistics())
        return found


def apply_response(result: Result) -> control_pb2.ApplyResponse:
    """Return what to say of a change."""
    response = control_pb2.ApplyResponse(
        generation=result.generation,
        changed=result.changed,
        diff=result.diff,
        dry_run=result.dry_run,
    )
    if not result.dry_run:
        method = control_pb2.ApplyResponse.DESCRIPTOR.enum_types_by_name["Method"]
        response.method = convert.number_from(method, result.how.value)  # type: ignore[assignment]
    for step in result.steps:
        convert.set_seconds(response.steps.add(name=step.name).duration, step.duration_s)
    return response

"""Alerts on their way to one firewall's ambassador: the first at once, the rest together, none twice on purpose.

What cannot be reported waits, and is tried again until it can be; when too much waits, the oldest goes and is counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import cast

from opentelemetry import trace
from opentelemetry.context import Context

from clover.control._proto import control_pb2
from clover.control.client import CallFailedError, Client
from clover.control.handlers import Telemetry
from clover.control.methods import METHODS

MOST_WAITING = 10_000
MOST_TOGETHER, MOST_TOGETHER_BYTES = 500, 1 << 20
"""So many alerts go together, and about so many bytes: a message that is too large would be refused for ever."""
LINGER_S = 0.02
"""So long after the last report the next one gathers alerts; an alert that comes later goes at once."""
TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An alert that is to be reported."""

    number: int
    """Counts the alerts of this ambassador, from 1."""
    alert: control_pb2.Alert


class Reporter:
    """Reports alerts to one ambassador, in order."""

    def __init__(self, address: str, *, workload: str, telemetry: Telemetry, most: int = MOST_WAITING) -> None:
        self.address = address
        self._workload = workload
        self._telemetry = telemetry
        self._most = most
        self._queue: deque[Waiting] = deque()
        self._sending: list[Waiting] = []
        self._added = asyncio.Event()
        self._failing = False
        self._dropping = False
        self.reported = 0
        self.dropped = 0
        """Alerts that this firewall will never hear of."""
        self.failed_calls = 0

    @property
    def waiting(self) -> int:
        """How many alerts have been neither reported nor dropped."""
        return len(self._queue) + len(self._sending)

    def add(self, waiting: Waiting) -> None:
        """Report this one, too."""
        self._queue.append(waiting)
        # What is being sent may have arrived already, and is no use dropping.
        if self.waiting > self._most and len(self._queue) > 1:
            self._queue.popleft()
            self._drop(1, f"{self._most} wait already")
        self._added.set()

    def done(self, taken: int) -> int:
        """Return the number up to which all of the first `taken` alerts are dealt with."""
        first = self._sending or self._queue
        return first[0].number - 1 if first else taken

    async def run(self, client: Client) -> None:
        """Report what was and will be added, until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._gather()
            if await self._sent(client):
                pause_s = FIRST_PAUSE_S
            else:
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311  (so that not all come at once)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _gather(self) -> None:
        while not (self._sending or self._queue):
            self._added.clear()
            await self._added.wait()
        room = MOST_TOGETHER_BYTES - sum(waiting.alert.ByteSize() for waiting in self._sending)
        while self._queue and len(self._sending) < MOST_TOGETHER and room > 0:
            self._sending.append(self._queue.popleft())
            room -= self._sending[-1].alert.ByteSize()

    async def _sent(self, client: Client) -> bool:
        """Return whether the alerts that were gathered are dealt with; they are kept otherwise."""
        begun_at = asyncio.get_running_loop().time()
        request = control_pb2.ReportAlertsRequest(
            alerts=[waiting.alert for waiting in self._sending], reporter=self._workload
        )
        context = next(filter(None, (context_of(one.alert) for one in reversed(self._sending))), None)
        try:
            await client.call(self.address, METHODS["ReportAlerts"], request, timeout_s=TIMEOUT_S, context=context)
        except CallFailedError as failure:
            self._failed(failure)
            if failure.answer.code != "INVALID_ARGUMENT":
                return False
            # It will be as wrong the next time.
            self._drop(len(self._sending), str(failure))
        else:
            self.reported += len(self._sending)
            self._works()
        self._sending = []
        left_s = begun_at + LINGER_S - asyncio.get_running_loop().time()
        if left_s > 0:
            await asyncio.sleep(left_s)
        return True

    def _failed(self, failure: CallFailedError) -> None:
        self.failed_calls += 1
        if not self._failing:
            self._failing = True
            what = f"alerts cannot be reported to {self.address}, and wait: {failure.problems[0].what}"
            self._say("CLV3352", what)

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            dropped = f"; {self.dropped} were dropped in all" if self.dropped else ""
            self._say("", f"alerts are reported to {self.address} again{dropped}")
        self._dropping = False

    def _drop(self, number: int, why: str) -> None:
        self.dropped += number
        if not self._dropping:
            self._dropping = True
            self._say("CLV3351", f"the oldest alerts for {self.address} are dropped: {why}")

    def _say(self, code: str, body: str) -> None:
        attributes = {"log": "output", "error.type": code} if code else {"log": "output"}
        self._telemetry.emit("clover.report", body, attributes)


def context_of(alert: control_pb2.Alert) -> Context | None:
    """Return the trace context of the request that an alert is about; None when it is not known."""
    try:
        about = trace.SpanContext(
            int(alert.trace_id, 16), int(alert.span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(1)
        )
    except ValueError:
        return None
    if not about.is_valid:
        return None
    return cast("Context", trace.set_span_in_context(trace.NonRecordingSpan(about), Context()))

"""What an intrusion detection system finds, on its way out: to telemetry, to whoever watches, to the firewalls.

The engine's own file is the queue on disk. `alerts.offset` remembers how far it need not be read again, and that goes
no further than the alerts that every firewall was told of: an ambassador that is killed reads the rest again, and the
ids of the alerts make that harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.block_policy import quoted
from clover.control.client import Client
from clover.control.handlers import Call, Code, Handlers, Surroundings, call_error
from clover.control.reports import Reporter, Waiting
from clover.control.settings import settings_from
from clover.control.tail import Position, Tail, Watch
from clover.functions.alerts import Alert, AlertSource, Join
from clover.functions.state import State
from clover.kit import files

FILE = "alerts.offset"
SETTLE_S = 3.0
"""After this long every alert of what was read has come out of the reader, which waits 2 s for other halves."""
LOOK_S = 0.5
"""So often the reader is asked for what is overdue, and the offset saved, when no record comes."""
MOST_MARKS = 2000
"""So many places are remembered while reports fail; then every other one is forgotten, and more is read again."""
MOST_BEHIND = 1000
"""So many alerts wait for somebody who watches; when more would, the oldest are lost to them."""
BURST = 500
BURST_S = 0.1
"""A backlog is handed on at so many alerts in this time: what sends the log records on has a queue with an end."""
_URL_LENGTH, _LENGTH = 2000, 500
"""So much of a URL, and of a message and a host, is handed on."""

_JOINS = {
    Join.TRACE_ID: control_pb2.Alert.JOIN_TRACE_ID,
    Join.FLOW_TRANSACTION: control_pb2.Alert.JOIN_FLOW_TRANSACTION,
    Join.ADDRESS_TIME: control_pb2.Alert.JOIN_ADDRESS_TIME,
    Join.NONE: control_pb2.Alert.JOIN_NONE,
}


@dataclass(slots=True)
class Progress:
    """How far a file need not be read again."""

    _marks: deque[tuple[Position, float]] = field(default_factory=deque)
    """Places, and when everything before them had been read."""
    _settled: list[tuple[Position, float, int]] = field(default_factory=list)
    """The same, with the number of alerts that had come when all of what stands before must have."""
    _done: deque[tuple[Position, float]] = field(default_factory=deque)
    """Places before which every alert is dealt with."""

    def mark(self, position: Position, *, now: float, taken: int) -> None:
        """Remember that everything before `position` has been read, and that `taken` alerts have come of it so far."""
        self._marks.append((position, now))
        while now - self._marks[0][1] >= SETTLE_S:
            place, at = self._marks.popleft()
            if len(self._settled) > 1 and self._settled[-2][::2] == self._settled[-1][::2] == (place, taken):
                self._settled.pop()
            self._settled.append((place, at, taken))
        if len(self._settled) > MOST_MARKS:
            del self._settled[1::2]

    def safe(self, *, done: int) -> Position | None:
        """
        Return the place to read on from, after a death, when the first `done` alerts are dealt with.

        It lies before the first alert that is not, by as much as the records reach back that belong to it.
        """
        whole = bisect_right(self._settled, done, key=lambda mark: mark[2])
        self._done.extend((place, at) for place, at, _ in self._settled[:whole])
        del self._settled[:whole]
        if not self._done:
            return None
        latest = self._done[-1][1] - SETTLE_S
        while len(self._done) > 1 and self._done[1][1] <= latest:
            self._done.popleft()
        return self._done[0][0] if self._done[0][1] <= latest else None


class Subscriber:
    """Somebody who watches alerts."""

    def __init__(self) -> None:
        self._queue: deque[control_pb2.Alert] = deque()
        self._added = asyncio.Event()
        self._lost = 0

    def add(self, alert: control_pb2.Alert) -> None:
        """Show this one, too; the oldest goes when too many wait."""
        if len(self._queue) >= MOST_BEHIND:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(alert)
        self._added.set()

    async def alerts(self) -> AsyncGenerator[control_pb2.Alert, None]:
        """Yield alerts as they come. Ends with a CallError, after those that are left, when some were lost."""
        while True:
            self._added.clear()
            while self._queue:
                yield self._queue.popleft()
            if self._lost:
                what = f"{self._lost} alerts were missed: more than {MOST_BEHIND} waited to be read"
                raise call_error(Code.RESOURCE_EXHAUSTED, "CLV3353", what, where="StreamAlerts", hint="call again")
            await self._added.wait()


class Alerts:
    """The part of an ambassador that hands an engine's alerts on."""

    def __init__(self, surroundings: Surroundings, *, clock: Callable[[], float] = time.time) -> None:
        self._surroundings = surroundings
        self._clock = clock
        self._file = Path(surroundings.settings.directory, FILE)
        self._reporters = tuple(
            Reporter(address, workload=surroundings.settings.workload, telemetry=surroundings.telemetry)
            for address in surroundings.settings.report_to
        )
        self._subscribers: set[Subscriber] = set()
        self._progress = Progress()
        self._taken = 0
        self._saved: Position | None = None
        self._unreadable = False

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {"StreamAlerts": self.stream_alerts}

    def statistics(self) -> dict[str, float]:
        """Return its counters, for the function's status."""
        return {
            "alerts_total": self._taken,
            "alerts_reported_total": sum(reporter.reported for reporter in self._reporters),
            "alerts_waiting": sum(reporter.waiting for reporter in self._reporters),
            "alerts_dropped_total": sum(reporter.dropped for reporter in self._reporters),
            "alert_subscribers": len(self._subscribers),
        }

    async def stream_alerts(self, _: control_pb2.StreamAlertsRequest, call: Call) -> AsyncIterator[control_pb2.Alert]:
        """Show alerts from now on."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        try:
            async with contextlib.aclosing(subscriber.alerts()) as alerts:
                async for alert in alerts:
                    yield alert
        finally:
            self._subscribers.discard(subscriber)

    async def run(self) -> None:
        """Read what the engine writes and hand it on, until cancelled."""
        async with Client(self._surroundings.telemetry) as client, asyncio.TaskGroup() as tasks:
            for reporter in self._reporters:
                tasks.create_task(reporter.run(client), name=f"report to {reporter.address}")
            await self._follow()

    async def _follow(self) -> None:
        source = cast("AlertSource", self._surroundings.driver)
        settings = settings_from(
            self._surroundings.settings,
            State(
                type=self._surroundings.settings.type, generation=1, configuration=self._surroundings.configuration()
            ),
        )
        path = Path(source.alert_file(settings))
        reader = source.reader(settings)
        self._saved = _remembered(self._file)
        tail, watch = Tail(path, start=self._saved), Watch(path.parent)
        looked_at = float("-inf")
        try:
            while True:
                lines = self._read(tail)
                now, before = self._clock(), self._taken
                for line in lines or ():
                    for alert in reader.read(line, now=now):
                        self._take(alert)
                if time.monotonic() - looked_at >= LOOK_S:
                    looked_at = time.monotonic()
                    for alert in reader.overdue(now=now):
                        self._take(alert)
                    self._remember(tail)
                if lines is None:
                    await watch.wait(at_most_s=LOOK_S)
                else:
                    taken = self._taken - before
                    await asyncio.sleep(taken / BURST * BURST_S if taken > BURST / 10 else 0)
        finally:
            watch.close()
            tail.close()

    def _read(self, tail: Tail) -> list[bytes] | None:
        try:
            lines = tail.read(now=time.monotonic())
        except OSError as failure:
            if not self._unreadable:
                self._unreadable = True
                self._surroundings.telemetry.emit(
                    "clover.report",
                    f"the engine's alerts cannot be read: {failure}",
                    {"log": "output", "error.type": "CLV3350"},
                )
            return None
        self._unreadable = False
        return lines

    def _take(self, alert: Alert) -> None:
        self._taken += 1
        message = message_from(alert)
        self._surroundings.telemetry.emit(
            "clover.alert",
            sentence(alert),
            {
                "log": "alert",
                "clover.alert.id": alert.id,
                "clover.alert.rule_id": alert.rule_id,
                "clover.alert.message": alert.message[:_LENGTH],
                "clover.alert.severity": alert.severity,
                "clover.alert.client": alert.client,
                "clover.alert.join": alert.join.value,
                "clover.alert.method": alert.method,
                "clover.alert.host": alert.host[:_LENGTH],
                "clover.alert.url": alert.url[:_URL_LENGTH],
            },
            trace=(alert.trace_id, alert.span_id),
        )
        for subscriber in self._subscribers:
            subscriber.add(message)
        for reporter in self._reporters:
            reporter.add(Waiting(number=self._taken, alert=message))

    def _remember(self, tail: Tail) -> None:
        if (position := tail.position) is None:
            return
        self._progress.mark(position, now=time.monotonic(), taken=self._taken)
        done = min((reporter.done(self._taken) for reporter in self._reporters), default=self._taken)
        safe = self._progress.safe(done=done)
        if safe is None or safe == self._saved:
            return
        files.write(self._file, json.dumps(asdict(safe)))
        self._saved = safe
        tail.free(safe)


def _remembered(file: Path) -> Position | None:
    """Return the place to read on from; None when there is none, or none that can be read: then from the beginning."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        data = json.loads(file.read_text(encoding="utf-8"))
        device, inode, offset = (int(data[name]) for name in ("device", "inode", "offset"))
        if offset >= 0:
            return Position(device=device, inode=inode, offset=offset)
    return None


def sentence(alert: Alert) -> str:
    """Return an alert in one line."""
    asked = f" {alert.method} {alert.host}{alert.url}".rstrip()
    by = f" from {alert.client}" if alert.client else ""
    shown = "".join(sign if sign.isprintable() else "?" for sign in asked)
    return f"alert: {quoted(alert.message)} (rule {alert.rule_id}){shown[:300]}{by}"


def message_from(alert: Alert) -> control_pb2.Alert:
    """Return an alert as it is sent; numbers that do not fit their fields are brought into range."""
    return control_pb2.Alert(
        id=alert.id,
        time=convert.timestamp(min(max(alert.time, 0.0), 2.5e11)),
        rule_id=min(max(alert.rule_id, 0), 2**32 - 1),
        message=alert.message[:_LENGTH],
        severity=min(max(alert.severity, 0), 2**32 - 1),
        client=alert.client,
        trace_id=alert.trace_id,
        span_id=alert.span_id,
        join=_JOINS[alert.join],
        method=alert.method,
        host=alert.host[:_LENGTH],
        url=alert.url[:_URL_LENGTH],
    )

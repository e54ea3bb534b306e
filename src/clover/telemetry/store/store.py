"""The telemetry store of one chain: what is acknowledged is kept, what does not fit is refused, nothing grows.

One thread writes and one reads, each with its own session, so the event loop never waits for the engine. Senders'
requests gather in bounded queues and are committed together: a commit costs the engine the same few milliseconds for
one span as for some thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clover.errors import HostError, Problem
from clover.telemetry.store import frames, problems, rejects, schema
from clover.telemetry.store.engine import EngineError, Input, Session, open_session
from clover.telemetry.store.queue import Queue, Waiting

T = TypeVar("T")

TRACES, LOGS, LINES = "traces", "logs", "lines"
# One block, so one part: an insert is stored wholly or not at all, and the views see all of it at once.
_WHOLE = "max_insert_block_size = 10000000, input_format_parallel_parsing = 0"
_INPUTS = {
    TRACES: Input(table="traces_in", format="Protobuf", settings=f"{schema.format_schema('Span')}, {_WHOLE}"),
    LOGS: Input(table="logs_in", format="Protobuf", settings=f"{schema.format_schema('LogRecord')}, {_WHOLE}"),
    LINES: Input(table="lines_in", format="RowBinary", settings=_WHOLE),
}


class RefusedError(Exception):
    """The store has no room now; the sender keeps what it sent, or loses it, and knows."""


SETTLE_S = 3.0
"""Who asks for what came last waits no longer than this for a disk that is busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the store takes of a machine."""

    queue_bytes: int = 48 << 20
    """For each of traces, logs and engine lines: what waits to be committed. More is refused."""
    commit_bytes: int = 4 << 20
    """This much is committed at once, without waiting for more."""
    commit_interval_s: float = 0.3
    """At least this long between the beginnings of two commits, unless `commit_bytes` wait."""
    commit_share: float = 0.25
    """The most of the writer's time that commits of less than `commit_bytes` take: traffic of a few requests a second
    must not keep a core busy, and on a machine that is busy already commits grow instead of adding to it."""
    commit_pause_s: float = 2.0
    """And yet nothing waits for company longer than this, however long commits take."""
    memory_bytes: int = 768 << 20
    """The engine's own limit, above which it fails a statement; it idles far below."""


class Store:
    """An open store; made by `open_store`."""

    def __init__(self, directory: Path, *, retention_hours: int, limits: Limits) -> None:
        self.directory = directory
        self._retention_hours = retention_hours
        self._limits = limits
        self._queues = {kind: Queue() for kind in _INPUTS}
        self._wanted = asyncio.Event()
        self._urgent = asyncio.Event()
        self._committed = asyncio.Condition()
        self._commits = 0
        self._committing = False
        self._opened = asyncio.Event()
        self._closing = False
        self._refused = 0
        self._lost = 0
        self._problems: dict[str, Problem] = {}
        self._writer = ThreadPoolExecutor(1, "clover-store-writer")
        self._reader = ThreadPoolExecutor(1, "clover-store-reader")
        self._lock: int | None = None
        self._write_session: Session | None = None
        self._read_session: Session | None = None

    async def opened(self) -> None:
        """Return once the engine is ready; inserting does not need to wait for it, asking does it by itself."""
        await self._opened.wait()

    # ---- writing

    async def insert_traces(self, request: bytes) -> None:
        """
        Store an OTLP `ExportTraceServiceRequest`; return once it is on disk.

        Raises `MalformedError` when it is not one, and `RefusedError` when there is no room. Either way none of it is
        kept.
        """
        await self._insert(TRACES, request)

    async def insert_logs(self, request: bytes) -> None:
        """Store an OTLP `ExportLogsServiceRequest`, as `insert_traces` does."""
        await self._insert(LOGS, request)

    def note_logs(self, request: bytes) -> None:
        """Store an OTLP `ExportLogsServiceRequest` without waiting; it is dropped when there is no room for it."""
        queue = self._queues[LOGS]
        if not self._closing and queue.bytes + len(request) <= self._limits.queue_bytes:
            self._push(queue, Waiting(payload=request))

    def insert_lines(self, resource: Mapping[str, str], lines: bytes) -> None:
        """
        Store what a workload's engine printed: whole lines, and the workload's resource attributes.

        Returns at once, because an engine must never wait for its log. Lines that do not fit are counted as lost and
        shown in `problems`.
        """
        if not lines:
            return
        queue = self._queues[LINES]
        row = frames.line_row(received_unix_nano=time.time_ns(), resource=resource, text=lines)
        item = Waiting(payload=row, lines=lines.count(b"\n") + (not lines.endswith(b"\n")))
        if self._closing or queue.bytes + len(row) > self._limits.queue_bytes:
            self._lose(item.lines)
        else:
            self._push(queue, item)

    def _lose(self, lines: int) -> None:
        self._lost += lines
        self._problems["CLV6002"] = problems.lost(self.directory, self._lost)

    async def _insert(self, kind: str, request: bytes) -> None:
        if not request:
            return
        queue = self._queues[kind]
        if self._closing or queue.bytes + len(request) > self._limits.queue_bytes:
            self._refused += 1
            raise RefusedError("the store is closing" if self._closing else "the store's queue is full")
        done = asyncio.get_running_loop().create_future()
        self._push(queue, Waiting(payload=request, done=done))
        await done

    def _push(self, queue: Queue, item: Waiting) -> None:
        queue.add(item)
        self._wanted.set()
        if queue.bytes >= self._limits.commit_bytes:
            self._urgent.set()

    async def _write(self) -> None:
        """Open the store, then commit what waits, until closing finds nothing left."""
        try:
            await self._in_writer(self._open)
            self._opened.set()
            while not self._closing or any(queue.items for queue in self._queues.values()):
                await self._wanted.wait()
                await self._commit_once()
        finally:
            self._closing = True
            for queue in self._queues.values():
                for item in queue.take(queue.bytes):
                    item.settle(RefusedError("the store is closed"))

    async def _commit_once(self) -> None:
        self._wanted.clear()
        self._urgent.clear()
        self._committing = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        for kind, queue in self._queues.items():
            if items := queue.take(2 * self._limits.commit_bytes):
                await self._commit(kind, items)
        self._committing = False
        async with self._committed:
            self._commits += 1
            self._committed.notify_all()
        waiting = [queue.bytes for queue in self._queues.values() if queue.items]
        if waiting:
            self._wanted.set()
        if not self._closing and max(waiting, default=0) < self._limits.commit_bytes:
            # What comes while the last commit is fresh waits for company, unless it is company enough.
            pause = max(self._limits.commit_interval_s, (loop.time() - began) / self._limits.commit_share)
            pause = min(pause, self._limits.commit_pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + pause):
                    await self._urgent.wait()

    async def _commit(self, kind: str, items: Sequence[Waiting]) -> None:
        payloads = [item.payload for item in items]
        outcomes = await self._in_writer(lambda: self._insert_all(kind, payloads))
        failures = [outcome for outcome in outcomes if isinstance(outcome, EngineError)]
        self._remember(failures[0] if failures else None)
        if kind == LINES and failures and not self._closing:
            # Nobody can send lines again: they wait for room, as long as their queue has some.
            self._queues[LINES].put_back(items)
            return
        for item, outcome in zip(items, outcomes, strict=True):
            if outcome is None:
                item.settle(None)
            elif kind == LINES:
                self._lose(item.lines)
            elif isinstance(outcome, EngineError):
                self._refused += 1
                item.settle(RefusedError(str(outcome)))
            else:
                item.settle(outcome)

    def _remember(self, failure: EngineError | None) -> None:
        """Show a commit that failed as a problem, and take it back when a commit succeeds."""
        for code in ("CLV6001", "CLV6006"):
            self._problems.pop(code, None)
        if failure is not None:
            problem = problems.unwritable(self.directory, failure)
            self._problems[problem.code] = problem

    # ---- in the writer's thread

    def _open(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self.directory)
            tables = self.directory / schema.version()
            tables.mkdir(mode=0o700, exist_ok=True)
            for other in self.directory.glob("v-*"):
                if other != tables:
                    shutil.rmtree(other)
            self._write_session = open_session(tables, memory_bytes=self._limits.memory_bytes)
            for statement in schema.statements(retention_hours=self._retention_hours):
                self._write_session.command(statement)
            self._read_session = open_session(tables, memory_bytes=self._limits.memory_bytes)
        except BlockingIOError as failure:
            raise HostError(problems.in_use(self.directory)) from failure
        except (EngineError, OSError) as failure:
            raise HostError(problems.unopened(self.directory, failure)) from failure

    def _insert_all(self, kind: str, payloads: Sequence[bytes]) -> list[Exception | None]:
        """Insert the payloads together; say for each what went wrong, None for nothing."""
        session = _ready(self._write_session)
        if kind == LINES:
            return rejects.insert_each(list(payloads), lambda some: session.insert(_INPUTS[kind], some))
        outcomes: list[Exception | None] = []
        rows: list[list[bytes]] = []
        for payload in payloads:
            try:
                rows.append(frames.rows_of(payload))
                outcomes.append(None)
            except frames.MalformedError as failure:
                rows.append([])
                outcomes.append(failure)
        sound = [index for index, failure in enumerate(outcomes) if failure is None and rows[index]]
        results = rejects.insert_each(
            [b"".join(rows[index]) for index in sound],
            lambda some: session.insert(_INPUTS[kind], some),
        )
        for index, result in zip(sound, results, strict=True):
            outcomes[index] = result
        return outcomes

    # ---- reading

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT whose values are bound as `{name:Type}`."""
        await self._opened.wait()
        session = _ready(self._read_session)
        return await asyncio.get_running_loop().run_in_executor(self._reader, session.query, sql, parameters)

    async def after_next_commit(self, *, seen: int, timeout_s: float) -> int:
        """Wait until more than `seen` commits were made, or the time is up; return how many were made."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._committed:
                await self._committed.wait_for(lambda: self._commits > seen)
        return self._commits

    async def settle(self) -> None:
        """Commit what came until now without waiting for company; return once that is done, or takes `SETTLE_S`."""
        # What is being committed already was taken from its queue before the last of it came.
        wanted = self._commits + (2 if self._committing else 1)
        if not self._committing and not any(queue.items for queue in self._queues.values()):
            return
        self._wanted.set()
        self._urgent.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S), self._committed:
                await self._committed.wait_for(lambda: self._commits >= wanted)

    @property
    def commits(self) -> int:
        """How many commits were made since the store was opened."""
        return self._commits

    async def statistics(self) -> dict[str, int]:
        """
        Return what is stored, and what could not be since the store was opened.

        `spans`, `logs`, and their `bytes` on disk; `refused` export requests, whose senders were told; and `lost`
        lines of engines, of which nobody could be told.
        """
        rows = await self.query(
            "SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes FROM system.parts "
            "WHERE active AND database = currentDatabase() AND table IN ('otel_traces', 'otel_logs') GROUP BY table"
        )
        count = {row["table"]: int(row["rows"]) for row in rows}
        return {
            "spans": count.get("otel_traces", 0),
            "logs": count.get("otel_logs", 0),
            "bytes": sum(int(row["bytes"]) for row in rows),
            "refused": self._refused,
            "lost": self._lost,
        }

    def problems(self) -> tuple[Problem, ...]:
        """Return what is wrong with the store now."""
        return tuple(self._problems.values())

    async def _in_writer(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    def _finish(self) -> None:
        """Take nothing more, and let the writer end once it has committed what waits."""
        self._closing = True
        self._wanted.set()
        self._urgent.set()

    def _close(self) -> None:
        for session in (self._read_session, self._write_session):
            if session is not None:
                session.close()
        if self._lock is not None:
            os.close(self._lock)


def _ready(session: Session | None) -> Session:
    if session is None:
        raise RuntimeError("the store is not open")
    return session


def _locked(directory: Path) -> int:
    """Keep other processes out of the store until this one ends, however it ends; the engine's own refusal is mute."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.asynccontextmanager
async def open_store(
    directory: Path,
    *,
    retention_hours: int = 24,
    limits: Limits = Limits(),
) -> AsyncIterator[Store]:
    """
    Open the store below `directory` for as long as the block runs.

    The block is entered at once: the engine opens in a thread meanwhile, which takes about half a second, and what is
    inserted until then waits in the queues. A store that cannot be opened ends the block with a `HostError`. Leaving
    the block commits what waits.
    """
    store = Store(directory, retention_hours=retention_hours, limits=limits)
    try:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(store._write(), name="telemetry store")
            try:
                yield store
            finally:
                store._finish()
                await asyncio.wait([writing])
    finally:
        await store._in_writer(store._close)
        store._writer.shutdown()
        store._reader.shutdown()

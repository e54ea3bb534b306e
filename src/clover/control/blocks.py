"""The clients that a firewall blocks: its ambassador's calls for them, and their end.

Whom to block is decided in `block_policy`, and the engine is made to in `enforcement`. `blocks.json` is written before
the engine is told, so a restarted ambassador finds whom it must take off again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context

from clover.control import block_messages, block_policy
from clover.control._proto import control_pb2
from clover.control.block_file import FILE, BlockFile
from clover.control.block_policy import Blocklist, Entry, Outcome
from clover.control.enforcement import Enforcement
from clover.control.handlers import Call, Handlers, Surroundings
from clover.spec.configuration import BlockPolicy, FirewallConfiguration

LOOK_S = 1.0
"""So often it is looked whether the policy has changed and whether the engine still owes something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is to be said once the engine does it."""

    body: str
    method: str
    trace: tuple[str, str] | None = None
    context: Context | None = None


class Blocks:
    """The part of a firewall's ambassador that blocks clients."""

    def __init__(self, surroundings: Surroundings, *, clock: Callable[[], float] = time.time) -> None:
        self._surroundings = surroundings
        self._clock = clock
        self._where = f"firewall {surroundings.settings.workload}"
        self._file = BlockFile(surroundings.settings.directory)
        self._list = Blocklist(self._saved())
        self._engine = Enforcement(surroundings, where=self._where)
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._owed: dict[str, _Told] = {}
        """Address → what to say once the engine does what is wanted of it."""
        self._policy: BlockPolicy | None = None
        self._counts = dict.fromkeys(("reported", "duplicate", "unattributed", "exempt", "late", "refused"), 0)

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {
            "Block": self.block,
            "Unblock": self.unblock,
            "ListBlocks": self.list_blocks,
            "ReportAlerts": self.report_alerts,
        }

    def statistics(self) -> dict[str, float]:
        """Return its counters, for the function's status."""
        counters = {f"alerts_{name}_total": count for name, count in self._counts.items()}
        return {"blocks_active": len(self._list.entries), **counters}

    async def run(self) -> None:
        """Put the engine right, now and whenever a block ends or the policy changes, until cancelled."""
        try:
            while True:
                async with self._lock:
                    await self._tend()
                    self._changed.clear()
                    wait_s = self._wait_s()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait_s)
        finally:
            self._file.catch_up(self._list.entries.values(), at_once=True)

    async def block(self, request: control_pb2.BlockRequest, call: Call) -> control_pb2.BlockResponse:
        """Block a client because somebody asks for it."""
        policy = self._policy_in_force()
        address, duration_s = block_messages.order_from(request, policy, where=self._where)
        if network := block_policy.exempting(block_policy.address_of(address), policy):
            raise block_messages.exempt(address, network, where=self._where)
        async with self._lock:
            now = self._clock()
            await self._expire(now)
            span = trace.get_current_span(call.context).get_span_context()
            known = self._list.entries.get(address)
            entry = self._list.block(
                Entry(
                    address=address,
                    reason=request.reason,
                    since=now,
                    until=now + duration_s,
                    trace_id=f"{span.trace_id:032x}" if span.is_valid else "",
                    span_id=f"{span.span_id:016x}" if span.is_valid else "",
                )
            )
            if entry is None:
                raise block_messages.full(address, where=self._where)
            why = f": {entry.reason}" if entry.reason else ""
            self._owed[address] = _Told(
                body=f"blocked {address} for {round(entry.until - now, 3):g} s{why}",
                method="Block",
                context=call.context,
            )
            self._save()
            await self._enforce()
            if address not in self._engine.blocked:
                # Whoever asked is told that it failed, so it must not happen by itself later.
                self._owed.pop(address, None)
                self._list.unblock(address)
                if known is not None:
                    self._list.block(known)
                self._save()
                raise self._engine.refusal()
            self._changed.set()
        return control_pb2.BlockResponse(block=block_messages.message_from(entry))

    async def unblock(self, request: control_pb2.UnblockRequest, call: Call) -> control_pb2.UnblockResponse:
        """Take a client's requests again."""
        address = block_messages.address_from(request.address, where=self._where)
        async with self._lock:
            await self._expire(self._clock())
            entry = self._list.unblock(address)
            if entry is None:
                return control_pb2.UnblockResponse(unblocked=False)
            self._owed[address] = _Told(body=f"unblocked {address}", method="Unblock", context=call.context)
            self._save()
            await self._enforce()
            if address in self._engine.blocked:
                self._owed.pop(address, None)
                self._list.block(entry)
                self._save()
                raise self._engine.refusal()
            self._changed.set()
        return control_pb2.UnblockResponse(unblocked=True)

    async def list_blocks(self, _: control_pb2.ListBlocksRequest, call: Call) -> control_pb2.ListBlocksResponse:
        """Return who is blocked, the ones that were blocked first at first."""
        now = self._clock()
        entries = sorted(self._list.entries.values(), key=lambda entry: (entry.since, entry.address))
        return control_pb2.ListBlocksResponse(
            blocks=[block_messages.message_from(entry) for entry in entries if entry.until > now]
        )

    async def report_alerts(
        self, request: control_pb2.ReportAlertsRequest, call: Call
    ) -> control_pb2.ReportAlertsResponse:
        """Count alerts, and block the clients that have reached the policy's threshold."""
        async with self._lock:
            now = self._clock()
            await self._expire(now)
            policy = self._policy_in_force() if self._engine.possible else None
            verdict = self._list.report(map(block_messages.alert_from, request.alerts), policy, now=now)
            self._count(len(request.alerts), verdict)
            for decision in verdict.decisions:
                self._note(decision, policy, now=now)
            if any(decision.outcome is Outcome.BLOCKED for decision in verdict.decisions):
                self._save()
                await self._enforce()
                self._changed.set()
        blocked = [
            decision.entry.address
            for decision in verdict.decisions
            if decision.outcome is Outcome.WOULD_BLOCK
            or (decision.outcome is Outcome.BLOCKED and decision.entry.address in self._engine.blocked)
        ]
        return control_pb2.ReportAlertsResponse(duplicates=verdict.duplicates, blocked=blocked)

    def _count(self, reported: int, verdict: block_policy.Verdict) -> None:
        self._counts["reported"] += reported
        self._counts["duplicate"] += verdict.duplicates
        self._counts["unattributed"] += verdict.unattributed
        self._counts["exempt"] += verdict.exempt
        self._counts["late"] += verdict.late

    def _note(self, decision: block_policy.Decision, policy: BlockPolicy | None, *, now: float) -> None:
        entry = decision.entry
        for_s = f"{entry.address} for {round(entry.until - now, 3):g} s: {entry.reason}"
        told = _Told(body=f"blocked {for_s}", method="ReportAlerts", trace=(entry.trace_id, entry.span_id))
        match decision.outcome:
            case Outcome.BLOCKED:
                self._owed[entry.address] = told
            case Outcome.EXTENDED:
                self._file.behind = True
            case Outcome.WOULD_BLOCK:
                self._tell(entry.address, told, body=f"would block {for_s}", outcome="dry-run")
            case Outcome.FULL:
                self._counts["refused"] += 1
                self._tell(
                    entry.address,
                    told,
                    body=f"did not block {for_s}: {block_policy.MOST_BLOCKS} clients are blocked already",
                    outcome="failed",
                )

    async def _tend(self) -> None:
        now = self._clock()
        await self._expire(now)
        policy = self._policy_in_force()
        if policy != self._policy:
            self._policy = policy
            for entry in self._list.exempted(policy):
                self._list.unblock(entry.address)
                self._lift(entry, "the block policy allows it now")
            self._file.behind = True
        self._file.catch_up(self._list.entries.values())
        await self._enforce()

    def _wait_s(self) -> float:
        expiry = self._list.next_expiry()
        return LOOK_S if expiry is None else max(min(expiry - self._clock(), LOOK_S), 0.001)

    async def _expire(self, now: float) -> None:
        over = self._list.expire(now=now)
        for entry in over:
            self._lift(entry, f"its {round(entry.until - entry.since, 1):g} s are over")
        if over:
            self._save()
            await self._enforce()

    def _lift(self, entry: Entry, why: str) -> None:
        self._owed[entry.address] = _Told(
            body=f"unblocked {entry.address}: {why}", method="Unblock", trace=(entry.trace_id, entry.span_id)
        )

    async def _enforce(self) -> None:
        """Make the engine block whom the list has, and tell what it does now; what fails is tried again by `run`."""
        if not self._engine.possible:
            return
        wanted = self._list.entries.keys()
        await self._engine.enforce(wanted)
        for address in [one for one in self._owed if (one in wanted) == (one in self._engine.blocked)]:
            self._tell(address, self._owed.pop(address))

    def _tell(self, address: str, told: _Told, *, body: str = "", outcome: str = "applied") -> None:
        settings = self._surroundings.settings
        print(f"{settings.function}@{settings.version}: {body or told.body}", flush=True)
        self._surroundings.telemetry.emit(
            "clover.change",
            body or told.body,
            {
                "log": "change",
                "clover.change.method": told.method,
                "clover.change.outcome": outcome,
                "clover.change.summary": body or told.body,
                "clover.client": address,
            },
            context=told.context,
            trace=told.trace,
        )

    def _save(self) -> None:
        self._file.keep(self._list.entries.values())

    def _saved(self) -> tuple[Entry, ...]:
        try:
            return self._file.read()
        except (OSError, ValueError) as failure:
            # Whom the engine still blocks is taken off by the first look at it: nobody is blocked for ever.
            self._surroundings.telemetry.emit(
                "clover.change",
                f"{FILE} cannot be read, and nobody is blocked any more: {failure}",
                {"log": "change", "clover.change.outcome": "failed", "error.type": "CLV3344"},
            )
            return ()

    def _policy_in_force(self) -> BlockPolicy | None:
        configuration = self._surroundings.configuration()
        return configuration.block_policy if isinstance(configuration, FirewallConfiguration) else None

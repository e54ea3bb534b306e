"""The clients that a firewall blocks: its ambassador's calls for them, the file that remembers them, and their end.

What is decided stands in `block_policy`. Here the engine is made to do it, and goes on being made to: an engine that
could not be reached, or that forgot, is told again. `blocks.json` is written before the engine is told, so a restarted
ambassador finds whom it must take off again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeGuard

from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry import trace
from opentelemetry.context import Context

from clover.control import block_policy
from clover.control._proto import control_pb2
from clover.control.block_policy import Blocklist, Entry, Outcome, quoted
from clover.control.handlers import Call, CallError, Code, Handlers, Surroundings, Violation, call_error
from clover.errors import Problem
from clover.functions import request_identity
from clover.functions.alerts import Alert
from clover.functions.driver import Blocking, EngineError
from clover.kit import files
from clover.spec.configuration import BlockPolicy, FirewallConfiguration

FILE = "blocks.json"
LONGEST_S = 7 * 86400.0
DEFAULT_S = 60.0
"""How long somebody's order lasts when neither it nor a policy says so."""
REASON_LENGTH = 200
ID_LENGTH = 128
"""So much of an alert's id is remembered: those of Clover's ambassadors have 32 characters."""
MOST_AT_ONCE = 1000
"""A list that is longer is written once in `LOOK_S`, not with each new block: writing it takes its time."""
LOOK_S = 1.0
"""So often it is looked whether the policy has changed and whether the engine still owes something."""
RECONCILE_S = 10.0
"""So often the engine is asked whom it blocks: it may have been started again."""


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
        self._file = Path(surroundings.settings.directory, FILE)
        self._where = f"firewall {surroundings.settings.workload}"
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._list: Blocklist | None = None
        self._enforced: set[str] = set()
        self._asked_at = float("-inf")
        """When the engine was last asked whom it blocks, by the monotonic clock."""
        self._owed: dict[str, _Told] = {}
        """Address → what to say once the engine does what is wanted of it."""
        self._unsaved = False
        self._saved_at = float("-inf")
        self._policy: BlockPolicy | None = None
        self._mute = ""
        """What the engine said when it last failed; '' when it did not."""
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
        active = len(self._list.entries) if self._list else 0
        return {"blocks_active": active, **{f"alerts_{name}_total": count for name, count in self._counts.items()}}

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
            if self._unsaved:
                self._save(now=True)

    async def block(self, request: control_pb2.BlockRequest, call: Call) -> control_pb2.BlockResponse:
        """Block a client because somebody asks for it."""
        policy = self._policy_in_force()
        address, duration_s = _wanted(request, policy, where=self._where)
        if network := block_policy.exempting(block_policy.address_of(address), policy):
            raise _exempt(address, network, where=self._where)
        async with self._lock:
            now = self._clock()
            await self._expire(now)
            span = trace.get_current_span(call.context).get_span_context()
            known = self._blocklist().entries.get(address)
            entry = self._blocklist().block(
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
                raise _full(address, where=self._where)
            why = f": {entry.reason}" if entry.reason else ""
            self._owed[address] = _Told(
                body=f"blocked {address} for {round(entry.until - now, 3):g} s{why}",
                method="Block",
                context=call.context,
            )
            self._save()
            await self._enforce()
            if address not in self._enforced:
                # Whoever asked is told that it failed, so it must not happen by itself later.
                self._owed.pop(address, None)
                self._blocklist().unblock(address)
                if known is not None:
                    self._blocklist().block(known)
                self._save()
                raise self._engine_refuses()
            self._changed.set()
        return control_pb2.BlockResponse(block=_entry_message(entry))

    async def unblock(self, request: control_pb2.UnblockRequest, call: Call) -> control_pb2.UnblockResponse:
        """Take a client's requests again."""
        address = _address(request.address, where=self._where)
        async with self._lock:
            await self._expire(self._clock())
            entry = self._blocklist().unblock(address)
            if entry is None:
                return control_pb2.UnblockResponse(unblocked=False)
            self._owed[address] = _Told(body=f"unblocked {address}", method="Unblock", context=call.context)
            self._save()
            await self._enforce()
            if address in self._enforced:
                self._owed.pop(address, None)
                self._blocklist().block(entry)
                self._save()
                raise self._engine_refuses()
            self._changed.set()
        return control_pb2.UnblockResponse(unblocked=True)

    async def list_blocks(self, _: control_pb2.ListBlocksRequest, call: Call) -> control_pb2.ListBlocksResponse:
        """Return who is blocked, the ones that were blocked first at first."""
        now = self._clock()
        entries = sorted(self._blocklist().entries.values(), key=lambda entry: (entry.since, entry.address))
        return control_pb2.ListBlocksResponse(blocks=[_entry_message(entry) for entry in entries if entry.until > now])

    async def report_alerts(
        self, request: control_pb2.ReportAlertsRequest, call: Call
    ) -> control_pb2.ReportAlertsResponse:
        """Count alerts, and block the clients that have reached the policy's threshold."""
        async with self._lock:
            now = self._clock()
            await self._expire(now)
            policy = self._policy_in_force() if _blocks(self._surroundings.running) else None
            verdict = self._blocklist().report(map(_alert, request.alerts), policy, now=now)
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
            or (decision.outcome is Outcome.BLOCKED and decision.entry.address in self._enforced)
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
                self._unsaved = True
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
            for entry in self._blocklist().exempted(policy):
                self._blocklist().unblock(entry.address)
                self._lift(entry, "the block policy allows it now")
            self._unsaved = True
        if self._unsaved and time.monotonic() - self._saved_at >= LOOK_S:
            self._save(now=True)
        await self._enforce()

    def _wait_s(self) -> float:
        expiry = self._blocklist().next_expiry()
        return LOOK_S if expiry is None else max(min(expiry - self._clock(), LOOK_S), 0.001)

    async def _expire(self, now: float) -> None:
        over = self._blocklist().expire(now=now)
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
        """Make the engine block whom the list has, and nobody else; what fails is tried again by `run`."""
        running = self._surroundings.running
        if not _blocks(running):
            return
        wanted = self._blocklist().entries.keys()
        try:
            if time.monotonic() - self._asked_at >= RECONCILE_S:
                self._enforced = set(await running.blocked())
                self._asked_at = time.monotonic()
            for address in sorted(self._enforced - wanted):
                await running.unblock(address)
                self._enforced.discard(address)
            for address in sorted(wanted - self._enforced):
                await running.block(address)
                self._enforced.add(address)
        except EngineError as failure:
            if not self._mute:
                self._surroundings.telemetry.emit(
                    "clover.change",
                    f"the engine does not do what was decided about blocked clients: {failure}",
                    {"log": "change", "clover.change.outcome": "failed", "error.type": type(failure).__name__},
                )
            self._mute = str(failure) or type(failure).__name__
            # It may have done half of it: ask again before the next attempt.
            self._asked_at = float("-inf")
        else:
            self._mute = ""
        for address in [one for one in self._owed if (one in wanted) == (one in self._enforced)]:
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

    def _blocklist(self) -> Blocklist:
        if self._list is None:
            self._list = Blocklist(self._saved())
        return self._list

    def _saved(self) -> tuple[Entry, ...]:
        try:
            return parse(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as failure:
            # Whom the engine still blocks is taken off by the first look at it: nobody is blocked for ever.
            self._surroundings.telemetry.emit(
                "clover.change",
                f"{FILE} cannot be read, and nobody is blocked any more: {failure}",
                {"log": "change", "clover.change.outcome": "failed", "error.type": "CLV3344"},
            )
            return ()

    def _save(self, *, now: bool = False) -> None:
        entries = self._blocklist().entries
        self._unsaved = len(entries) > MOST_AT_ONCE and not now
        if not self._unsaved:
            files.write(self._file, render(entries.values()))
            self._saved_at = time.monotonic()

    def _policy_in_force(self) -> BlockPolicy | None:
        configuration = self._surroundings.configuration()
        return configuration.block_policy if isinstance(configuration, FirewallConfiguration) else None

    def _engine_refuses(self) -> CallError:
        if not _blocks(self._surroundings.running):
            return call_error(
                Code.UNIMPLEMENTED,
                "CLV3343",
                f"engine {self._surroundings.settings.engine!r} cannot block clients",
                where=self._where,
            )
        return call_error(
            Code.UNAVAILABLE,
            "CLV3343",
            f"the engine does not do it: {self._mute}",
            where=self._where,
            hint="clover status says whether the engine runs",
        )


_FIELDS = tuple(one.name for one in fields(Entry))


def render(entries: Iterable[Entry]) -> str:
    """Return the text of the file."""
    return json.dumps({"blocks": [{name: getattr(entry, name) for name in _FIELDS} for entry in entries]})


def parse(text: str) -> tuple[Entry, ...]:
    """Return the entries of the file's text. Raises ValueError if it is not one that `render` made."""
    try:
        entries = tuple(
            Entry(
                address=str(block_policy.address_of(one["address"])),
                reason=str(one["reason"]),
                since=float(one["since"]),
                until=float(one["until"]),
                alert_ids=tuple(map(str, one["alert_ids"])),
                trace_id=str(one["trace_id"]),
                span_id=str(one["span_id"]),
            )
            for one in json.loads(text)["blocks"]
        )
        if not all(math.isfinite(entry.until) for entry in entries):
            raise ValueError("a block without an end")
    except (KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise ValueError(f"not a list of blocks: {failure!r}") from failure
    return entries


def _blocks(running: object) -> TypeGuard[Blocking]:
    return all(hasattr(running, name) for name in ("block", "unblock", "blocked"))


def _wanted(request: control_pb2.BlockRequest, policy: BlockPolicy | None, *, where: str) -> tuple[str, float]:
    """Return the address and the duration that are asked for; says everything that is wrong at once."""
    wrong: list[tuple[str, Violation]] = []
    address, duration_s = "", policy.duration if policy else DEFAULT_S
    try:
        address = str(block_policy.address_of(request.address))
    except ValueError:
        wrong.append(("CLV3340", _no_address(request.address)))
    if request.HasField("duration"):
        duration_s = request.duration.seconds + request.duration.nanos / 1e9
        if not 0 < duration_s <= LONGEST_S:
            what = f"duration is {duration_s:g} s, expected more than 0 and at most {LONGEST_S:g} s (7 days)"
            wrong.append(("CLV3345", Violation(field="duration", what=what)))
    if len(request.reason) > REASON_LENGTH or not request.reason.isprintable():
        what = f"reason is {quoted(request.reason, most=40)}, expected one line of at most {REASON_LENGTH} characters"
        wrong.append(("CLV3345", Violation(field="reason", what=what)))
    if wrong:
        raise _invalid(wrong, where=where)
    return address, duration_s


def _address(text: str, *, where: str) -> str:
    try:
        return str(block_policy.address_of(text))
    except ValueError:
        raise _invalid([("CLV3340", _no_address(text))], where=where) from None


def _no_address(text: str) -> Violation:
    found = f"address is {quoted(text, most=60)}" if text else "address is empty"
    return Violation(field="address", what=f"{found}, expected an IPv4 or IPv6 address such as '192.0.2.7'")


def _invalid(wrong: list[tuple[str, Violation]], *, where: str) -> CallError:
    return CallError(
        code=Code.INVALID_ARGUMENT,
        problems=tuple(Problem(code=code, where=where, what=violation.what) for code, violation in wrong),
        violations=tuple(violation for _, violation in wrong),
    )


def _exempt(address: str, network: str, *, where: str) -> CallError:
    if network == request_identity.SIDECAR:
        what, hint = f"{address} is the function's own sidecar: blocking it would block everybody", ""
    else:
        what = f"{address} is never blocked: the block policy allows {network}"
        hint = "take the network out of blockPolicy.allow first"
    return call_error(
        Code.FAILED_PRECONDITION, "CLV3341", what, where=where, hint=hint, preconditions={"ALLOWED": what}
    )


def _full(address: str, *, where: str) -> CallError:
    return call_error(
        Code.RESOURCE_EXHAUSTED,
        "CLV3342",
        f"{address} is not blocked: {block_policy.MOST_BLOCKS} clients are blocked already",
        where=where,
        hint="unblock some, or deny their network in the firewall's configuration (deniedNetworks)",
    )


def _alert(message: control_pb2.Alert) -> Alert:
    """Return what the policy needs of an alert; anything in the mesh may have sent it."""
    about = request_identity.trace_context(f"00-{message.trace_id}-{message.span_id}-01")
    return Alert(
        id=message.id[:ID_LENGTH],
        time=message.time.seconds + message.time.nanos / 1e9,
        rule_id=message.rule_id,
        message=message.message,
        severity=message.severity,
        client=message.client,
        trace_id=about.trace_id if about else "",
        span_id=about.span_id if about else "",
    )


def _entry_message(entry: Entry) -> control_pb2.BlockEntry:
    return control_pb2.BlockEntry(
        address=entry.address,
        reason=entry.reason,
        since=_timestamp(entry.since),
        until=_timestamp(entry.until),
        alert_ids=entry.alert_ids,
        trace_id=entry.trace_id,
    )


def _timestamp(at: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(round(at * 1e6) * 1000)
    return stamp

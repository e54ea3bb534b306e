"""Which clients a firewall blocks: alerts and orders in, decisions out. No I/O, no clock but the `now` given."""

from __future__ import annotations

import functools
import ipaddress
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from clover.functions.alerts import Alert
from clover.functions.request_identity import SIDECAR
from clover.spec.configuration import BlockPolicy

MOST_BLOCKS = 10_000
"""So many clients are blocked at once; a further one is refused, and said so."""
MOST_IDS = 50_000
"""So many alerts are recognised when they are reported again."""
MOST_CLIENTS = 10_000
"""So many clients are watched at once; the one that was quiet for longest is forgotten first."""
MOST_REMEMBERED = 100_000
"""So many alerts of all clients together are remembered, for the same."""
MOST_NAMED = 20
"""So many alerts are named in an entry: the last ones."""
LATE_S = 60.0
"""An alert that took longer than this, and longer than a block lasts, to get here blocks nobody any more."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One client that is blocked."""

    address: str
    """Canonical."""
    reason: str
    since: float
    """Unix time, as is `until`."""
    until: float
    """From this moment on it is not blocked."""
    alert_ids: tuple[str, ...] = ()
    """The alerts that led to it; none when somebody asked for it."""
    trace_id: str = ""
    """Of the last of these alerts, or of the call."""
    span_id: str = ""


class Outcome(StrEnum):
    """What came of a client that has reached the threshold."""

    BLOCKED = "blocked"
    EXTENDED = "extended"
    """It was blocked already, and is for longer now."""
    WOULD_BLOCK = "would-block"
    """The policy is a dry run."""
    FULL = "full"
    """As many as can be are blocked already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about one client."""

    outcome: Outcome
    entry: Entry


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What came of one report."""

    duplicates: int = 0
    unattributed: int = 0
    """Alerts that name no client."""
    exempt: int = 0
    """Alerts about clients that are never blocked."""
    late: int = 0
    decisions: list[Decision] = field(default_factory=list)


def address_of(text: str) -> Address:
    """Return the address that `text` means; an IPv4 address that is wrapped in IPv6 is unwrapped. Raises ValueError."""
    if len(text) > 45 or "%" in text:
        raise ValueError(f"{text[:60]!r} is not an IPv4 or IPv6 address")
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def exempting(address: Address, policy: BlockPolicy | None) -> str:
    """
    Return what keeps `address` from being blocked: a network of the allow list, or the sidecar; '' when nothing.

    Everything that a function gets comes from its sidecar: blocking that would block everybody.
    """
    if str(address) == SIDECAR:
        return SIDECAR
    bits = int(address)
    for (version, shift), prefixes in _networks(policy.allow if policy else ()).items():
        if version == address.version and bits >> shift in prefixes:
            return prefixes[bits >> shift]
    return ""


@functools.lru_cache(maxsize=4)
def _networks(texts: tuple[str, ...]) -> Mapping[tuple[int, int], Mapping[int, str]]:
    """Return networks by version and number of host bits, so that it matters little how many there are."""
    found: dict[tuple[int, int], dict[int, str]] = {}
    for text in texts:
        network = ipaddress.ip_network(text)
        shift = network.max_prefixlen - network.prefixlen
        found.setdefault((network.version, shift), {})[int(network.network_address) >> shift] = text
    return found


class Blocklist:
    """The clients that are blocked, and what is remembered of those that may be."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.address: entry for entry in entries}
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._clients: OrderedDict[str, list[tuple[float, str]]] = OrderedDict()
        self._remembered = 0
        self._tried: dict[str, float] = {}
        """Client → until when a dry run has it as blocked, so that each is told once."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """By address."""
        return self._entries

    def report(self, alerts: Iterable[Alert], policy: BlockPolicy | None, *, now: float) -> Verdict:
        """
        Count alerts, each id once, and decide about the clients that have reached the threshold.

        `policy.threshold` alerts about one client, raised within `policy.window`, block it until at least
        `policy.duration` from now. Call `expire` first.
        """
        verdict = Verdict()
        exempt: dict[Address, str] = {}
        decided: dict[str, Decision] = {}
        for alert in alerts:
            if not self._is_new(alert.id):
                verdict.duplicates += 1
                continue
            try:
                client = address_of(alert.client)
            except ValueError:
                verdict.unattributed += 1
                continue
            if policy is None:
                continue
            if client not in exempt:
                exempt[client] = exempting(client, policy)
            raised_at = min(alert.time or now, now)
            if exempt[client]:
                verdict.exempt += 1
            elif now - raised_at > max(policy.duration, LATE_S):
                verdict.late += 1
            elif (counted := self._count(str(client), alert.id, raised_at, policy)) >= policy.threshold:
                decision = self._decide(str(client), counted, alert, policy, now=now)
                if decision and not (decision.outcome is Outcome.EXTENDED and str(client) in decided):
                    decided[str(client)] = decision
                elif decision:
                    decided[str(client)] = replace(decided[str(client)], entry=decision.entry)
        verdict.decisions = list(decided.values())
        return verdict

    def block(self, entry: Entry) -> Entry | None:
        """Block a client because somebody asks for it; a block never gets shorter. None: there are too many."""
        before = self._entries.get(entry.address)
        if before is not None:
            entry = replace(entry, since=before.since, until=max(before.until, entry.until))
        elif len(self._entries) >= MOST_BLOCKS:
            return None
        self._entries[entry.address] = entry
        return entry

    def unblock(self, address: str) -> Entry | None:
        """Take a client's requests again, and forget the alerts about it. None: it was not blocked."""
        self._forget(address)
        return self._entries.pop(address, None)

    def expire(self, *, now: float) -> list[Entry]:
        """Take out and return the entries that are over."""
        over = [entry for entry in self._entries.values() if entry.until <= now]
        for entry in over:
            del self._entries[entry.address]
        if self._tried:
            self._tried = {address: until for address, until in self._tried.items() if until > now}
        return over

    def next_expiry(self) -> float | None:
        """Return when the next entry is over; None without entries."""
        return min((entry.until for entry in self._entries.values()), default=None)

    def exempted(self, policy: BlockPolicy | None) -> list[Entry]:
        """Return the entries whose clients are never to be blocked by the policy that is in force now."""
        return [entry for entry in self._entries.values() if exempting(address_of(entry.address), policy)]

    def _is_new(self, alert_id: str) -> bool:
        if alert_id in self._ids:
            self._ids.move_to_end(alert_id)
            return False
        self._ids[alert_id] = None
        if len(self._ids) > MOST_IDS:
            self._ids.popitem(last=False)
        return True

    def _count(self, client: str, alert_id: str, raised_at: float, policy: BlockPolicy) -> int:
        """Remember an alert, and return how many about its client the window holds that ends with the last."""
        seen = self._clients.setdefault(client, [])
        self._clients.move_to_end(client)
        if seen and raised_at < seen[-1][0] - policy.window:
            return 0
        self._remembered -= len(seen)
        insort(seen, (raised_at, alert_id))
        opens = seen[-1][0] - policy.window
        # More than the threshold are never needed: what matters is whether so many fit into the window.
        del seen[: max(bisect_left(seen, opens, key=lambda one: one[0]), len(seen) - policy.threshold)]
        self._remembered += len(seen)
        while len(self._clients) > MOST_CLIENTS or self._remembered > MOST_REMEMBERED:
            self._forget(next(iter(self._clients)))
        return len(seen)

    def _forget(self, client: str) -> None:
        self._remembered -= len(self._clients.pop(client, ()))

    def _decide(self, client: str, counted: int, alert: Alert, policy: BlockPolicy, *, now: float) -> Decision | None:
        before = self._entries.get(client)
        seen = self._clients.get(client, [])
        rule = f"rule {alert.rule_id} {quoted(alert.message)}" if alert.message else f"rule {alert.rule_id}"
        entry = Entry(
            address=client,
            reason=f"{counted} {'alert' if counted == 1 else 'alerts'} within {policy.window:g} s ({rule})",
            since=before.since if before else now,
            until=max(before.until if before else 0.0, now + policy.duration),
            alert_ids=tuple(alert_id for _, alert_id in seen[-MOST_NAMED:]),
            trace_id=alert.trace_id,
            span_id=alert.span_id,
        )
        if policy.dry_run:
            told = self._tried.get(client, 0.0) > now
            if len(self._tried) < MOST_BLOCKS or told:
                self._tried[client] = entry.until
            return None if told else Decision(outcome=Outcome.WOULD_BLOCK, entry=entry)
        if before is None and len(self._entries) >= MOST_BLOCKS:
            return Decision(outcome=Outcome.FULL, entry=entry)
        self._entries[client] = entry
        return Decision(outcome=Outcome.BLOCKED if before is None else Outcome.EXTENDED, entry=entry)


def quoted(text: str, *, most: int = 100) -> str:
    """Return foreign text for a sentence: in quotes, in one line, not too long."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return f'"{shown[:most]}..."' if len(shown) > most else f'"{shown}"'

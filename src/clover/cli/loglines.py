"""What a log line of a trace says, in few words: access records, the firewall's verdicts, and everything else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clover.cli import screen
from clover.cli.answers import LogAnswer

_FIELD = re.compile(r'\[(id|msg|data|uri) "((?:[^"\\]|\\.)*)"\]')
_DENIED = re.compile(r"ModSecurity: Access denied with code (\d{3})")
_VERDICTS = ("949", "959", "980")
"""Rules of the Core Rule Set that add up what other rules found; they decide, and the others say why."""

JOINS = {
    "trace-id": "its trace id",
    "flow-transaction": "flow and transaction",
    "address-time": "address and time",
}
"""How an alert was joined to its request, in words."""
_TRUE = (True, 1, "true", "1", "yes")

SIDECAR = "127.0.0.6"
"""Where a sidecar's connections to its own function come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule of the firewall that matched."""

    rule: str
    message: str
    data: str = ""
    """What in the request matched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the firewall said about the request."""

    blocked: bool
    findings: tuple[Finding, ...]
    """Each rule once; the deciding one, if it is known, first."""


def source(log: LogAnswer) -> str:
    """Return `envoy`, `access`, `alert`, `change`, `waf` or `` (anything else that a function printed)."""
    declared = log["attributes"].get("log", "")
    if declared in ("envoy", "access", "alert", "change"):
        return declared
    record = _record(log["body"])
    if record.get("log") == "access":
        return "access"
    if isinstance(record.get("transaction"), dict) or "ModSecurity: " in log["body"]:
        return "waf"
    return ""


def verdict(logs: Iterable[LogAnswer]) -> Verdict | None:
    """Return what the firewall's lines among `logs` add up to; None if it said nothing."""
    findings: dict[str, Finding] = {}
    blocked = False
    for log in logs:
        if source(log) != "waf":
            continue
        record = _record(log["body"])
        if record:
            for finding in _audited(record["transaction"]):
                findings.setdefault(finding.rule, finding)
        else:
            blocked = blocked or bool(_DENIED.search(log["body"]))
            fields = dict(_FIELD.findall(log["body"]))
            if rule := fields.get("id"):
                known = findings.get(rule)
                if known is None or not known.message:
                    findings[rule] = Finding(rule=rule, message=fields.get("msg", ""), data=fields.get("data", ""))
    if not findings and not blocked:
        return None
    ordered = sorted(findings.values(), key=lambda finding: (not finding.rule.startswith(_VERDICTS), finding.rule))
    return Verdict(blocked=blocked, findings=tuple(ordered))


def refusal(logs: Iterable[LogAnswer]) -> str:
    """Return why a firewall refused the request before its rules had a look: because of who sent it; '' if not so."""
    for log in logs:
        if source(log) != "access":
            continue
        record = _record(log["body"])
        client = screen.printable(str(record.get("client", "")))
        if record.get("blocked") in _TRUE:
            return f"client {client} is blocked for now (see: clover firewall list)"
        if record.get("denied") in _TRUE:
            return f"client {client} is in a denied network"
    return ""


def alert(log: LogAnswer) -> str:
    """Return an alert as it stands below its hop: `alert "a scanner" (rule 9000001, severity 1, joined by ...)`."""
    said = log["attributes"]
    message = said.get("clover.alert.message", "") or log["body"]
    about = [f"rule {said.get('clover.alert.rule_id', '?')}", f"severity {said.get('clover.alert.severity', '?')}"]
    if joined := JOINS.get(said.get("clover.alert.join", "")):
        about.append(f"joined by {joined}")
    if client := said.get("clover.alert.client"):
        about.append(f"client {client}")
    return screen.printable(f'alert "{message}" ({", ".join(about)})')


def change(log: LogAnswer) -> str:
    """Return a change, or what came of an attempt, as whoever made it said it."""
    return screen.printable(log["body"] or log["attributes"].get("clover.change.summary", ""))


def summary(log: LogAnswer) -> str:
    """Return the line as a reader of a trace wants it."""
    record = {**_record(log["body"]), **log["attributes"]}
    match source(log):
        case "access":
            return _access(record)
        case "envoy":
            return _envoy(record, log["body"])
        case "alert":
            return alert(log)
        case "change":
            return f"change: {change(log)}"
        case "waf":
            said = verdict([log])
            rules = ", ".join(finding.rule for finding in said.findings) if said else ""
            word = "denied" if said and said.blocked else "matched"
            kind = "audit record" if _record(log["body"]) else word
            return f"ModSecurity {kind}: {rules}" if rules else screen.printable(log["body"])
        case _:
            return screen.printable(log["body"].rstrip())


def cache(log: LogAnswer) -> str:
    """Return `HIT`, `MISS` ... from a cache's access record; '' for any other line."""
    if source(log) != "access":
        return ""
    return screen.printable(str({**_record(log["body"]), **log["attributes"]}.get("cache", "")).strip("-"))


def _access(record: dict[str, Any]) -> str:
    parts = [f"{record.get('method', '')} {record.get('path', '')} {record.get('status', '')}".strip()]
    if octets := _number(record.get("bytes")):
        parts.append(screen.size(octets))
    # An engine reads its clock between two pieces of work, and takes what it did in one of them for nothing.
    if taken := _number(record.get("duration_ms")):
        parts.append(screen.duration(taken))
    # A function behind its sidecar is called by nobody else; the address of that call is no news.
    if (client := record.get("client")) and client != SIDECAR:
        parts.append(f"from {client}")
    if (upstream := str(record.get("upstream", ""))) not in ("", "-"):
        parts.append(f"to {upstream}")
    if cached := str(record.get("cache", "")).strip("-"):
        parts.append(f"cache {cached}")
    if record.get("blocked") in _TRUE:
        parts.append("client blocked")
    if record.get("denied") in _TRUE:
        parts.append("client in a denied network")
    if (generation := _number(record.get("generation"))) is not None:
        parts.append(f"generation {generation:.0f}")
    return screen.printable(", ".join(parts))


def _envoy(record: dict[str, Any], body: str) -> str:
    if not record.get("status"):
        return screen.printable(body)
    parts = [f"{record.get('direction', 'sidecar')} {record.get('method', '')} {record.get('path', '')}"]
    parts[0] += f" {record['status']}"
    if (flags := str(record.get("flags", ""))) not in ("", "-"):
        parts[0] += f" {flags}"
    for name in ("details", "upstream_failure", "upstream_cluster", "upstream_host"):
        if (value := str(record.get(name, ""))) not in ("", "-", "via_upstream"):
            parts.append(value)
    return screen.printable(", ".join(parts))


def _audited(transaction: dict[str, Any]) -> Iterable[Finding]:
    messages = transaction.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        details = message.get("details")
        details = details if isinstance(details, dict) else {}
        if rule := str(details.get("ruleId", "")):
            yield Finding(rule=rule, message=str(message.get("message", "")), data=str(details.get("data", "")))


def _record(body: str) -> dict[str, Any]:
    if not body.startswith("{"):
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None

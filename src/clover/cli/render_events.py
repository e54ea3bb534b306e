"""Alerts, changes and what was lost as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from rich.text import Text

from clover.cli import loglines, screen
from clover.cli.screen import Column

ALERTS = (
    Column(title="TIME"),
    Column(title="SEVERITY", right=True),
    Column(title="RULE", right=True),
    Column(title="CLIENT"),
    Column(title="TRACE"),
    Column(title="JOINED BY"),
    Column(title="MESSAGE"),
    Column(title="REQUEST"),
)
CHANGES = (
    Column(title="TIME"),
    Column(title="FUNCTION"),
    Column(title="CALL"),
    Column(title="OUTCOME"),
    Column(title="GENERATION"),
    Column(title="HOW"),
    Column(title="TOOK", right=True),
    Column(title="TRACE"),
    Column(title="WHAT"),
)
LOST = (
    Column(title="TIME"),
    Column(title="WORKLOAD"),
    Column(title="WAY"),
    Column(title="WHAT"),
    Column(title="STATUS", right=True),
    Column(title="FLAGS"),
    Column(title="TRACE"),
    Column(title="WHY"),
)
_SEVERITY_STYLES = {1: "bold red", 2: "yellow"}
_URL_CELLS = 80


def alert(said: Mapping[str, Any], *, zone: tzinfo | None = None) -> Sequence[Text | str]:
    """Return the row of an alert."""
    severity = said["severity"]
    return [
        time_of(said["timeUnixNano"], zone),
        Text(str(severity or screen.NONE), style=_SEVERITY_STYLES.get(severity, "")),
        str(said["ruleId"]),
        screen.printable(said["client"]) or screen.NONE,
        said["traceId"] or screen.NONE,
        loglines.JOINS.get(said["join"], screen.NONE),
        screen.printable(said["message"]),
        screen.cut(screen.printable(f"{said['method']} {said['host']}{said['url']}".strip()), _URL_CELLS),
    ]


def change(said: Mapping[str, Any], *, zone: tzinfo | None = None) -> Sequence[Text | str]:
    """Return the row of a change."""
    return [
        time_of(said["timeUnixNano"], zone),
        function(said),
        screen.printable(said["method"]) or screen.NONE,
        outcome(said),
        generations(said) or screen.NONE,
        said["how"] if said["how"] not in ("", "none") else screen.NONE,
        screen.duration(said["durationMs"]) if said["durationMs"] else screen.NONE,
        said["traceId"] or screen.NONE,
        screen.printable(said["summary"]),
    ]


def lost(said: Mapping[str, Any], *, zone: tzinfo | None = None) -> Sequence[Text | str]:
    """Return the row of a request or connection that did not get through."""
    return [
        time_of(said["timeUnixNano"], zone),
        screen.printable(said["workload"]),
        {"inbound": "in", "outbound": "out"}.get(said["direction"], screen.printable(said["direction"])),
        screen.cut(screen.printable(said["what"]), _URL_CELLS),
        str(said["status"] or screen.NONE),
        screen.printable(said["flags"]) or screen.NONE,
        said["traceId"] or screen.NONE,
        screen.printable(said["why"]),
    ]


def function(said: Mapping[str, Any]) -> str:
    """Return what was changed: `http-lb@v2`, `mesh`."""
    return screen.printable(f"{said['function']}@{said['version']}" if said["version"] else said["function"])


def generations(said: Mapping[str, Any]) -> str:
    """Return `3 > 4`, or the one that stayed; '' for what has none."""
    before, now = said["previous"], said["generation"]
    return f"{before} > {now}" if before and before != now else str(now or "")


def outcome(said: Mapping[str, Any]) -> Text:
    """Return what came of a change."""
    word = screen.printable(said["outcome"])
    good = word in ("applied", "unchanged", "")
    return Text(word.replace("-", " ") or screen.NONE, style="" if good else "bold red")


def time_of(unix_nano: int, zone: tzinfo | None) -> str:
    """Return `2026-11-23 14:02:03.123`."""
    moment = datetime.fromtimestamp(unix_nano // 1_000_000_000, tz=UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{unix_nano // 1_000_000 % 1000:03d}"

"""Traces as a table, newest first: enough of each to choose one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo

from rich.text import Text

from clover.cli import screen
from clover.cli.answers import TraceSummary
from clover.cli.screen import Column

COLUMNS = (
    Column(title="TRACE"),
    Column(title="START"),
    Column(title="DURATION", right=True),
    Column(title="SPANS", right=True),
    Column(title="ERRORS", right=True),
    Column(title="ROOT"),
    Column(title="THROUGH"),
)


def lines(traces: Sequence[TraceSummary], *, zone: tzinfo | None) -> Iterator[Text]:
    """Yield the table; times are shown in `zone`, None meaning this machine's."""
    if not traces:
        yield Text("no traces fit")
        return
    head, *rows = screen.table(COLUMNS, [_row(trace, zone) for trace in traces])
    yield head
    for row, trace in zip(rows, traces, strict=True):
        yield row
        if why := trace.get("why"):
            yield Text(f"  {screen.printable(why)}", style="red")
    if any(trace.get("arriving") for trace in traces):
        yield Text("+ ended a moment ago, more of its spans may be on their way", style="dim")


def time_of_day(unix_nano: int, zone: tzinfo | None) -> str:
    """Return `14:02:03.123`."""
    moment = datetime.fromtimestamp(unix_nano // 1_000_000_000, tz=UTC).astimezone(zone)
    return f"{moment:%H:%M:%S}.{unix_nano // 1_000_000 % 1000:03d}"


def _row(trace: TraceSummary, zone: tzinfo | None) -> list[Text | str]:
    errors = trace["errorCount"]
    return [
        trace["traceId"],
        time_of_day(trace["startUnixNano"], zone),
        screen.duration(trace["durationMs"]),
        f"{trace['spanCount']}{'+' if trace.get('arriving') else ''}",
        Text(str(errors), style="bold red") if errors else "0",
        screen.printable(trace["root"]),
        screen.printable(" ".join(trace["services"])),
    ]

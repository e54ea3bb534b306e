"""What `clover alerts`, `clover changes` and `clover lost` share: a list of what happened, which may go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.text import Text

from clover.cli import api, output, screen
from clover.cli.screen import Column
from clover.cli.traces import seconds

Row = Callable[[Mapping[str, Any]], Sequence[Text | str]]


def query(*, since: str, function: str, limit: int) -> dict[str, object]:
    """Return the API's query parameters. Raises DocumentError."""
    since_s = f"{seconds(since, option='--since'):g}" if since else ""
    return {"sinceS": since_s, "function": function, "limit": limit}


def show(
    client: api.Client,
    what: str,
    wanted: Mapping[str, object],
    *,
    follow: bool,
    as_json: bool,
    columns: Sequence[Column],
    row: Row,
) -> None:
    """Print the events of a kind as a table, or as JSON; with `follow` a line each, until the chain goes down."""
    path = f"/v1/{what}"
    if follow:
        table = screen.GrowingTable(columns)
        target = screen.console()
        with client.until_down():
            for event in client.stream(path, {**wanted, "follow": "true"}):
                if as_json:
                    output.print_line(event)
                else:
                    screen.show(table.lines(row(event)), target=target)
        return
    found: list[dict[str, Any]] = client.get(path, wanted)
    if as_json:
        output.print_json(found)
    else:
        screen.show(
            screen.table(columns, [row(event) for event in found])
            if found
            else [Text("nothing was lost" if what == "lost" else f"no {what}")]
        )

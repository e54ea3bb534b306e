"""`clover trace ID`: one request, from the gateway to the server."""

from __future__ import annotations

from typing import Annotated

import typer

from clover.cli import api, output, render_trace, screen
from clover.cli.answers import TraceAnswer


def trace(
    key: Annotated[str, typer.Argument(metavar="ID|latest", help="A trace id, or `latest`.")] = "latest",
    wait: Annotated[
        float, typer.Option(min=0, max=30, metavar="SECONDS", help="How long to wait until the trace is complete.")
    ] = 3.0,
    full: Annotated[bool, typer.Option("--full", help="Every span, and the sidecars' access records, too.")] = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Show one trace: each hop with its time, status and log lines, and whether anything is missing."""
    answer: TraceAnswer = api.find(chain).get(f"/v1/traces/{trace_id(key)}", {"waitS": wait or ""}, wait_s=wait)
    if as_json:
        output.print_json(answer)
        return
    target = screen.console()
    screen.show(
        render_trace.lines(answer, width=screen.width(target), marks=screen.marks(target), full=full), target=target
    )


def trace_id(key: str) -> str:
    """Return the trace id in what a user pasted: an id, or a whole `traceresponse` or `traceparent` header's value."""
    key = key.strip().lower()
    parts = key.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else key

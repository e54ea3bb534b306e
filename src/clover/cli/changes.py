"""`clover changes`: what was changed while the chain ran, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from clover.cli import api, events, render_events


def changes(
    since: Annotated[str, typer.Option(metavar="DURATION", help="Only those of this last time: 30s, 5m, 2h.")] = "",
    function: Annotated[
        str, typer.Option(metavar="FUNCTION[@VERSION]", help="Only those of this function, or of the `mesh`.")
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="The newest, at most so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as changes come, until Ctrl-C.")] = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """List changes of functions and of the mesh, the newest last, with what came of them."""
    events.show(
        api.find(chain),
        "changes",
        events.query(since=since, function=function, limit=limit),
        follow=follow,
        as_json=as_json,
        columns=render_events.CHANGES,
        row=render_events.change,
    )

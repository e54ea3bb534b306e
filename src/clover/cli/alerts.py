"""`clover alerts`: what the intrusion detection system has found."""

from __future__ import annotations

from typing import Annotated

import typer

from clover.cli import api, events, render_events


def alerts(
    since: Annotated[str, typer.Option(metavar="DURATION", help="Only those of this last time: 30s, 5m, 2h.")] = "",
    function: Annotated[str, typer.Option(metavar="FUNCTION[@VERSION]", help="Only those of this function.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="The newest, at most so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as alerts come, until Ctrl-C.")] = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """List alerts, the newest last, each with the request that it is about."""
    events.show(
        api.find(chain),
        "alerts",
        events.query(since=since, function=function, limit=limit),
        follow=follow,
        as_json=as_json,
        columns=render_events.ALERTS,
        row=render_events.alert,
    )

"""`clover lost`: requests and connections that a proxy refused or could not deliver: where, and why."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from clover.cli import api, events, render_events

SETTLE_S = 1.0
"""How long the record of a request may be on its way: proxies send theirs twice a second."""


def lost(
    since: Annotated[str, typer.Option(metavar="DURATION", help="Only those of this last time: 30s, 5m, 2h.")] = "",
    function: Annotated[
        str,
        typer.Option(
            metavar="FUNCTION[@VERSION]", help="Only those that this function's sidecar, or the `gateway`, ended."
        ),
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="The newest, at most so many.")] = 100,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """List requests and connections that a proxy ended itself, the newest last, with the reason."""
    running = api.find(chain)
    time.sleep(SETTLE_S)
    events.show(
        running,
        "lost",
        events.query(since=since, function=function, limit=limit),
        follow=False,
        as_json=as_json,
        columns=render_events.LOST,
        row=render_events.lost,
    )

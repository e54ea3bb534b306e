"""`clover status`: how a running chain is doing."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from clover.cli import api, render_status, screen
from clover.cli.answers import StatusAnswer

REFRESH_S = 1.0


def status(
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every second, until Ctrl-C.")] = False,
) -> None:
    """Show the chain's workloads: state, restarts, requests per second, errors and latency of the last seconds."""
    client = api.find(chain)
    target = screen.console()

    def fetch() -> StatusAnswer:
        answer: StatusAnswer = client.get("/v1/status")
        return answer

    def show() -> None:
        answer = fetch()
        if as_json:
            print(json.dumps(answer, indent=None if watch else 2), flush=True)
        else:
            screen.show(render_status.lines(answer), target=target)

    if not watch:
        show()
        return
    with client.until_down():
        if as_json or not target.is_terminal:
            while True:
                show()
                time.sleep(REFRESH_S)
        with Live(console=target, auto_refresh=False, screen=True) as live:
            while True:
                live.update(Text("\n").join(render_status.lines(fetch())), refresh=True)
                time.sleep(REFRESH_S)

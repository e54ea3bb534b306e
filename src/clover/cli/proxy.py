"""`clover proxy FUNCTION [WHAT]`: what a sidecar really has, as it says itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from clover.cli import api, render_proxy, screen
from clover.cli import output as printing


class What(StrEnum):
    """Part of a sidecar's state."""

    CONFIG = "config"
    CLUSTERS = "clusters"
    LISTENERS = "listeners"
    ROUTES = "routes"
    CERTIFICATES = "certificates"
    STATS = "stats"


class Format(StrEnum):
    """How to print it."""

    TABLE = "table"
    JSON = "json"


def proxy(
    function: Annotated[str, typer.Argument(metavar="FUNCTION[@VERSION]", help="A function, or `gateway`.")],
    what: Annotated[What, typer.Argument(help="Which part.")] = What.CONFIG,
    output: Annotated[Format, typer.Option("--output", "-o", help="json: all that Envoy says.")] = Format.TABLE,
    chain: api.ChainOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
) -> None:
    """Show what a sidecar holds: configuration, clusters, listeners, routes, certificates or counters."""
    client = api.find(chain)
    one = api.only(client.instances(), function)
    answer = client.get(f"/v1/proxies/{one.workload}/{what.value}")
    if as_json or output is Format.JSON:
        printing.print_json(answer)
    else:
        screen.show(render_proxy.lines(what.value, answer))

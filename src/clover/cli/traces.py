"""`clover traces`: find traces."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from clover.cli import api, output, render_traces, screen
from clover.cli.answers import TraceSummary
from clover.errors import DocumentError, Problem

_UNITS_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MOST_S = 10_000 * _UNITS_S["d"]
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|µs|ms|s|m|h|d)")


def traces(
    service: Annotated[
        str,
        typer.Option(
            "--function", "--service", metavar="FUNCTION[@VERSION]", help="Only those that went through this function."
        ),
    ] = "",
    status: Annotated[str, typer.Option(help="Only those answered with this HTTP status, e.g. 403 or 5xx.")] = "",
    min_duration: Annotated[str, typer.Option(metavar="DURATION", help="Only those at least this long: 10ms.")] = "",
    since: Annotated[str, typer.Option(metavar="DURATION", help="Only those of this last time: 30s, 5m, 2h.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those with this span attribute; repeatable.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Calls of `clover control` and the like instead of clients' requests.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many, at most.")] = 20,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """List traces, newest first."""
    wrong = [pair for pair in attribute or () if not pair.partition("=")[0] or "=" not in pair]
    if wrong:
        raise DocumentError(
            *(_usage("--attribute", pair, "KEY=VALUE", "--attribute http.method=POST") for pair in wrong)
        )
    shortest_s = seconds(min_duration, option="--min-duration") if min_duration else None
    query = {
        "service": service,
        "status": status,
        "minDurationMs": "" if shortest_s is None else f"{shortest_s * 1000:g}",
        "sinceS": f"{seconds(since, option='--since'):g}" if since else "",
        "attribute": attribute or [],
        "control": "true" if control else "",
        "limit": limit,
    }
    found: list[TraceSummary] = api.find(chain).get("/v1/traces", query)
    if as_json:
        output.print_json(found)
    else:
        screen.show(render_traces.lines(found, zone=None))


def seconds(text: str, *, option: str) -> float:
    """Return the length of `10ms`, `1.5s`, `5m` or `1m30s`. Raises DocumentError."""
    total, at = 0.0, 0
    for found in _DURATION.finditer(text):
        if found.start() != at:
            break
        total, at = total + float(found[1]) * _UNITS_S[found[2]], found.end()
    if not text or at != len(text):
        raise DocumentError(_usage(option, text, "a number with its unit", f"{option} 10ms, or 30s, 5m, 2h"))
    if total > MOST_S:
        raise DocumentError(_usage(option, text, "at most 10000d", f"{option} 1d"))
    return total


def _usage(option: str, value: str, expected: str, example: str) -> Problem:
    return Problem(code="CLV5206", where=option, what=f"{option} is {value!r}, expected {expected}", hint=example)

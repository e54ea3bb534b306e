"""`clover firewall ...`: the clients that a firewall refuses for a while."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from clover.cli import ambassadors, api, output, render_control, screen
from clover.cli.ambassadors import Agent, FunctionOption, Target
from clover.errors import DocumentError, Problem

TYPE = "firewall"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="IP address of a client of the gateway.")]


@app.callback()
def firewall() -> None:
    """Block clients, and see who is blocked."""


@app.command("list")
def list_blocks(function: FunctionOption = "", chain: api.ChainOption = "", as_json: api.JsonOption = False) -> None:
    """List who is blocked, since when, until when, and why."""
    agent, target = _found(function, chain)
    said = agent.call(target, "ListBlocks").response
    if as_json:
        output.print_json(said)
    else:
        screen.show(render_control.blocks(said, zone=None))


@app.command()
def block(
    address: AddressArgument,
    duration: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long: 30s, 10m, 2h; none: as the policy says.")
    ] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for who reads the list.")] = "",
    function: FunctionOption = "",
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Refuse every request of a client, for a while."""
    from clover.cli.traces import seconds

    request = {"address": _address(address), "reason": reason}
    if duration:
        request["duration"] = f"{seconds(duration, option='--for'):.9f}s"
    agent, target = _found(function, chain)
    answer = agent.call(target, "Block", request)
    entry = answer.response["block"]
    if as_json:
        output.print_json({**ambassadors.as_json(target), "block": entry, "traceId": answer.trace_id})
    else:
        until = render_control.moment(entry.get("until", ""), None)
        print(f"{target}: blocked {entry.get('address', address)} until {until}  trace {answer.trace_id}")


@app.command()
def unblock(
    address: AddressArgument,
    function: FunctionOption = "",
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Take a client's requests again."""
    request = {"address": _address(address)}
    agent, target = _found(function, chain)
    answer = agent.call(target, "Unblock", request)
    unblocked = bool(answer.response.get("unblocked"))
    if as_json:
        output.print_json({**ambassadors.as_json(target), "unblocked": unblocked, "traceId": answer.trace_id})
    else:
        told = f"unblocked {address}" if unblocked else f"unchanged ({address} was not blocked)"
        print(f"{target}: {told}  trace {answer.trace_id}")


def _found(function: str, chain: str) -> tuple[Agent, Target]:
    agent = ambassadors.find(chain)
    return agent, ambassadors.only(agent.functions(), function, type_=TYPE)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        what = f"the address is {text!r}, expected an IPv4 or IPv6 address"
        raise DocumentError(Problem(code="CLV5206", where="ADDRESS", what=what)) from None

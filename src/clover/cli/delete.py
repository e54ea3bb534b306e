"""`clover delete KIND/NAME`: take an Istio resource out of force."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from clover.cli import api, kinds, output, screen
from clover.cli.answers import DeleteAnswer


def delete(
    resource: Annotated[
        str, typer.Argument(metavar="KIND/NAME", help="For example virtualservice/http-lb, or vs/http-lb.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, when it is a word of its own.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Its namespace; none: the chain's.")] = "",
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Delete one Istio resource, and return when every sidecar has forgotten it."""
    kind, name = kinds.one_resource_named(resource, name)
    answer: DeleteAnswer = api.find(chain).delete(f"/v1/resources/{kind}/{name}", {"namespace": namespace})
    if as_json:
        output.print_json(answer)
        return
    gone = f"{kinds.label(answer['kind'], answer['name'])} {answer['action']}"
    screen.show([Text(f"{gone}, acknowledged in {screen.duration(answer['acknowledgedMs'])}")])

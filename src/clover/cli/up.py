"""`clover up PATH`: bring a chain up, and return when it is ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clover.runtime.local import launch


def up(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Chain file, or a folder with a chain.yaml.")],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Run it under another name, beside one that is already up.")
    ] = "",
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="Gateway port on the host, instead of the chain file's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring a chain up, and return when every workload is ready."""
    # The node takes half a second to import what it needs; the chain is read and the machine looked at meanwhile. What
    # that needs is imported after the node was started, therefore, and not at the top.
    with launch.starting() as node:
        from clover.cli import bring_up

        bring_up.bring_up(node, path, name=name, port=port or 0, as_json=as_json)

"""`clover render PATH [KIND[/NAME]]`: print the Kubernetes Services and Istio resources that a chain means."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clover.cli import kinds, output
from clover.errors import DocumentError, Problem
from clover.mesh.istio import from_chain
from clover.mesh.istio import render as istio
from clover.spec import load


class Format(StrEnum):
    """How the resources are written."""

    YAML = "yaml"
    JSON = "json"


def render(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Chain file, or folder with a chain.yaml.")],
    resource: Annotated[str, typer.Argument(metavar="KIND[/NAME]", help="A kind, or one resource; none: all.")] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, when it is a word of its own.")] = "",
    form: Annotated[
        Format, typer.Option("--output", "-o", help="'yaml': one document each; 'json': one List.")
    ] = Format.YAML,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
) -> None:
    """Print the Istio resources that a chain means, and the Services that they speak of."""
    chain = load.load(path)
    kind, name = kinds.resource_named(resource, name)
    everything = [*from_chain.services_from(chain), *map(istio.render, from_chain.resources_from(chain))]
    documents = [
        one for one in everything if kind.lower() in ("", one["kind"].lower()) and name in ("", one["metadata"]["name"])
    ]
    if not documents:
        about = f"{kind}/{name}" if name else kind
        raise DocumentError(Problem(code="CLV4404", where=str(path), what=f"the chain means no {about}"))
    if as_json or form is Format.JSON:
        output.print_json({"apiVersion": "v1", "kind": "List", "items": documents})
    else:
        sys.stdout.write(istio.render_yaml(documents))

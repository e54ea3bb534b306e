"""`clover render PATH`: print the Kubernetes Services and Istio resources that a chain means."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clover.cli import output
from clover.mesh.istio import from_chain
from clover.mesh.istio import render as istio
from clover.spec import load


class Format(StrEnum):
    """How the resources are written."""

    YAML = "yaml"
    JSON = "json"


def render(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Chain file, or folder with a chain.yaml.")],
    form: Annotated[
        Format, typer.Option("--output", "-o", help="'yaml': one document each; 'json': one List.")
    ] = Format.YAML,
) -> None:
    """Print the Istio resources that a chain means, and the Services that they speak of."""
    chain = load.load(path)
    documents = [*from_chain.services_from(chain), *map(istio.render, from_chain.resources_from(chain))]
    if form is Format.JSON:
        output.print_json({"apiVersion": "v1", "kind": "List", "items": documents})
    else:
        sys.stdout.write(istio.render_yaml(documents))

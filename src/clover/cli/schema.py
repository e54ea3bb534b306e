"""`clover schema`: print the JSON Schema of the chain file."""

from __future__ import annotations

from clover.cli import output
from clover.spec.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of the chain file, for editors and for tools that write chains."""
    output.print_json(json_schema())

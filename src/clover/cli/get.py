"""`clover get [KIND[/NAME]]`: the Istio resources in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from clover.cli import api, gists, kinds, screen
from clover.cli import output as printing
from clover.cli.answers import ResourcesAnswer
from clover.cli.screen import Column
from clover.kit import yaml_text

COLUMNS = (
    Column(title="KIND"),
    Column(title="NAME"),
    Column(title="NAMESPACE"),
    Column(title="HOSTS"),
    Column(title="SAYS"),
)
_GIST_CELLS = 80


class Format(StrEnum):
    """How to print resources."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


def get(
    resource: Annotated[
        str, typer.Argument(metavar="KIND[/NAME]", help="A kind, kinds as vs,dr, or one resource; none: all.")
    ] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, when it is a word of its own.")] = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print them.")] = Format.TABLE,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Only those of this namespace.")
    ] = "",
    chain: api.ChainOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
) -> None:
    """Print the Istio resources that the chain's mesh obeys."""
    kind, name = kinds.resource_named(resource, name)
    client = api.find(chain)
    items: list[Mapping[str, Any]] = []
    for one in dict.fromkeys(map(kinds.kind_named, kind.strip(",").split(","))):
        query = {"kind": one, "name": name, "namespace": namespace}
        answer: ResourcesAnswer = client.get("/v1/resources", query)
        items += answer["items"]
    match Format.JSON if as_json else output:
        case Format.TABLE:
            screen.show(lines(items))
        case Format.YAML:
            print("---\n".join(map(yaml_text.dump, items)), end="")
        case Format.JSON:
            one_item = name and len(items) == 1
            printing.print_json(items[0] if one_item else {"apiVersion": "v1", "kind": "List", "items": items})


def lines(items: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """Yield the table."""
    if not items:
        yield Text("no resources")
        return
    rows = []
    for item in items:
        metadata, spec = item.get("metadata", {}), item.get("spec") or {}
        rows.append(
            [
                kinds.shown(item.get("kind", ""), item.get("apiVersion", "")),
                metadata.get("name", ""),
                metadata.get("namespace", ""),
                ", ".join(gists.hosts(spec)) or screen.NONE,
                screen.cut(gists.gist(item.get("kind", ""), spec), _GIST_CELLS) or screen.NONE,
            ]
        )
    yield from screen.table(COLUMNS, rows)

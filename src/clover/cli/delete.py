"""`clover delete KIND/NAME`, `clover delete -f PATH`: take Istio resources out of force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from clover.cli import api, output, screen
from clover.cli import apply as reading
from clover.cli.answers import ApplyAnswer
from clover.cli.kinds import one_resource_named
from clover.errors import DocumentError, Problem


def delete(
    resource: Annotated[
        str, typer.Argument(metavar="KIND/NAME", help="For example virtualservice/http-lb, or vs/http-lb.")
    ] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, when it is a word of its own.")] = "",
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--filename", "-f", metavar="PATH", help="What these files or folders have, or - for stdin; repeatable."
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Its namespace; none: the chain's.")
    ] = "",
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is no error.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Delete Istio resources, all or none, and return when every sidecar has forgotten them."""
    if bool(resource) == bool(files):
        raise typer.BadParameter("name one resource, or files with -f", param_hint="KIND/NAME")
    if files and namespace:
        raise typer.BadParameter("documents say their namespace themselves", param_hint="--namespace")
    named = []
    if resource:
        kind, name = one_resource_named(resource, name)
        named.append({"kind": kind, "name": name, "namespace": namespace})
    texts = reading.read(files or [])
    body = {
        "resources": named,
        "documents": [{"name": file, "text": text} for file, text in texts],
        "dryRun": dry_run,
        "ignoreNotFound": ignore_not_found,
    }
    answer: ApplyAnswer = api.find(chain).post("/v1/deletions", body)
    if not answer["resources"] and not ignore_not_found:
        read_in = ", ".join(dict.fromkeys(file for file, _ in texts))
        raise DocumentError(Problem(code="CLV5207", where=read_in, what="there is no document in it"))
    output.print_problems(Problem(**warning) for warning in answer["warnings"])
    if as_json:
        output.print_json(answer)
    else:
        screen.show(_lines(answer, dry_run=dry_run))


def _lines(answer: ApplyAnswer, *, dry_run: bool) -> Iterator[Text]:
    if answer["resources"]:
        yield from reading.lines(answer, dry_run=dry_run)
    else:
        yield Text("nothing of it is there")

"""`clover apply PATH...`: change the mesh of a running chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.text import Text

from clover.cli import api, kinds, output, screen, yaml_files
from clover.cli.answers import ApplyAnswer
from clover.errors import DocumentError, Problem

PathsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH", help="Files, folders with *.yaml and *.yml, or - for stdin."),
]
FilesOption = Annotated[
    list[str] | None, typer.Option("--filename", "-f", metavar="PATH", help="The same, as kubectl takes it.")
]


def apply(
    paths: PathsArgument = None,
    files: FilesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Apply Istio resources, all or none, and return when every sidecar has acknowledged them."""
    answer = send(wanted(paths, files), chain=chain, dry_run=dry_run)
    output.print_problems(warnings(answer))
    if as_json:
        output.print_json(answer)
    else:
        screen.show(lines(answer, dry_run=dry_run))


def wanted(paths: Sequence[str] | None, files: Sequence[str] | None) -> list[str]:
    """Return the paths that are meant, by argument and by option. Raises BadParameter when there is none."""
    if found := [*(paths or ()), *(files or ())]:
        return found
    raise typer.BadParameter("name a file, a folder, or - for standard input", param_hint="PATH")


def send(paths: Sequence[str], *, chain: str, dry_run: bool) -> ApplyAnswer:
    """Send what is in files to the node, and return what it did, or would do. Raises CloverError."""
    texts = read(paths)
    body = {"documents": [{"name": name, "text": text} for name, text in texts], "dryRun": dry_run}
    answer: ApplyAnswer = api.find(chain).post("/v1/resources", body)
    if not answer["resources"]:
        read_in = ", ".join(dict.fromkeys(name for name, _ in texts))
        raise DocumentError(Problem(code="CLV5207", where=read_in, what="there is no document in it"))
    return answer


def warnings(answer: ApplyAnswer) -> list[Problem]:
    """Return what the node warns of."""
    return [Problem(**warning) for warning in answer["warnings"]]


def read(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return the name and text of every file meant. Raises DocumentError with everything that cannot be read."""
    found = [one for path in paths for one in yaml_files.below(path, deep=False)]
    if problems := [problem for one in found for problem in one.problems]:
        raise DocumentError(*problems)
    return [(one.name, one.text) for one in found]


def lines(answer: ApplyAnswer, *, dry_run: bool) -> Iterator[Text]:
    """Yield what happened, in kubectl's words."""
    for change in answer["resources"]:
        what = f"{kinds.label(change['kind'], change['name'])} {change['action']}"
        yield Text(f"{what} (dry run)" if dry_run else what)
    if not dry_run:
        yield acknowledged(answer["proxies"], answer["acknowledgedMs"])


def acknowledged(proxies: int, took_ms: float) -> Text:
    """Return how many sidecars have taken the change, and how soon."""
    if not proxies:
        return Text("no sidecar had to change")
    return Text(f"{screen.count(proxies, 'sidecar')} acknowledged in {screen.duration(took_ms)}")

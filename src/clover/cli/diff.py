"""`clover diff PATH...`: what an apply would change."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from clover.cli import api, kinds, output
from clover.cli import apply as applying
from clover.cli.answers import ApplyAnswer
from clover.kit import yaml_text

DIFFERENT = 1
"""Exit code when there is something to apply, as kubectl's."""


def diff(
    paths: applying.PathsArgument = None,
    files: applying.FilesOption = None,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Show what an apply would change, checked like an apply. Exit code 1: there are differences."""
    answer: ApplyAnswer = applying.send(applying.wanted(paths, files), chain=chain, dry_run=True)
    changed = [one for one in answer["resources"] if one["action"] != "unchanged"]
    output.print_problems(applying.warnings(answer))
    if as_json:
        output.print_json(answer)
    else:
        for one in changed:
            name = f"{kinds.label(one['kind'], one['name'])} -n {one['namespace']}"
            print("".join(lines(one.get("before"), one.get("after"), name=name)), end="")
    if changed:
        raise typer.Exit(DIFFERENT)


def lines(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, name: str) -> Iterator[str]:
    """Yield a unified diff of two documents; None is one that does not exist."""
    old, new = (yaml_text.dump(dict(one)).splitlines(keepends=True) if one else [] for one in (before, after))
    yield from difflib.unified_diff(old, new, f"in force: {name}", f"applied: {name}")

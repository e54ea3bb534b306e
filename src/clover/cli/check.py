"""`clover check PATH...`: say everything that is wrong with chain files, and start nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clover.cli import output
from clover.cli.output import counted
from clover.errors import DocumentError, Problem, errors_only
from clover.spec import load
from clover.spec.chain import Chain


def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Chain files, or folders with a chain.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check chain files; says everything that is wrong at once."""
    results = [(load.file_of(path), *_inspected(path)) for path in paths]
    sound = all(chain is not None for _, chain, _ in results)
    exit_code = 0 if sound else DocumentError.exit_code
    if as_json:
        output.print_json({"files": [_as_json(*result) for result in results], "exitCode": exit_code})
    else:
        for result in results:
            _show(*result)
    raise typer.Exit(exit_code)


def _inspected(path: Path) -> tuple[Chain | None, tuple[Problem, ...]]:
    """Return the chain, None when something is wrong with it, and its problems; last those that its engines see."""
    chain, problems = load.inspect(path)
    if chain is None:
        return None, problems
    from clover.runtime import planner

    refused = planner.refusals(chain)
    return None if refused else chain, (*problems, *refused)


def _show(file: Path, chain: Chain | None, problems: tuple[Problem, ...]) -> None:
    output.print_problems(problems)
    errors = len(errors_only(problems))
    warnings = len(problems) - errors
    counts = [counted(errors, "error")] * bool(errors) + [counted(warnings, "warning")] * bool(warnings)
    if chain is None:
        print(f"{file}: {', '.join(counts)}", file=sys.stderr)
        return
    functions = counted(len(chain.functions), "function")
    workloads = len(tuple(chain.workloads()))
    print(f"{file}: ok: {', '.join([functions, counted(workloads, 'workload'), *counts])}", flush=True)


def _as_json(file: Path, chain: Chain | None, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "path": str(file),
        "ok": chain is not None,
        "chain": chain.name if chain else None,
        "functions": len(chain.functions) if chain else None,
        "workloads": len(tuple(chain.workloads())) if chain else None,
        "problems": [problem.as_json() for problem in problems],
    }
